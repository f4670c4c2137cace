//! A bounded number of tasks, where newcomers never wait.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

/// Tasks under way, oldest first. When all places are taken, a newcomer takes that of the oldest: clients that
/// do nothing, or stay for ever, keep nobody out. Dropping it ends all.
pub(super) struct Places {
    limit: usize,
    tasks: VecDeque<JoinHandle<()>>,
}

impl Places {
    /// `limit` places, at least 1.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, tasks: VecDeque::with_capacity(limit) }
    }

    /// Gives `task` a place.
    pub(super) fn take(&mut self, task: JoinHandle<()>) {
        if self.tasks.len() >= self.limit {
            self.tasks.retain(|task| !task.is_finished());
        }
        while self.tasks.len() >= self.limit {
            self.tasks.pop_front().inspect(JoinHandle::abort);
        }
        self.tasks.push_back(task);
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newcomer_displaces_the_oldest_and_only_when_all_places_are_taken() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        struct Tells(u32, tokio::sync::mpsc::UnboundedSender<u32>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.1.send(self.0);
            }
        }
        let stays = |number| {
            let tells = Tells(number, tell.clone());
            tokio::spawn(async move {
                let _tells = tells;
                std::future::pending::<()>().await;
            })
        };
        let mut places = Places::new(3);
        places.take(stays(1));
        let short = tokio::spawn(async {});
        while !short.is_finished() {
            tokio::task::yield_now().await;
        }
        places.take(short);
        places.take(stays(2));
        // The one that has ended makes way before any that has not.
        places.take(stays(3));
        assert!(told.try_recv().is_err());
        places.take(stays(4));
        assert_eq!(told.recv().await, Some(1));
        places.take(stays(5));
        assert_eq!(told.recv().await, Some(2));
        drop(places);
        assert!([told.recv().await, told.recv().await, told.recv().await].contains(&Some(5)));
    }
}
