//! A bounded number of tasks, where newcomers never wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

/// Tasks under way, oldest first. When all places are taken, a newcomer takes that of the oldest: clients that
/// do nothing, or stay for ever, keep nobody out. Dropping the last clone ends all: whoever stops taking newcomers and keeps
/// one lets those who are there finish.
#[derive(Clone)]
pub(super) struct Places {
    limit: usize,
    tasks: Arc<Mutex<Tasks>>,
}

struct Tasks(VecDeque<JoinHandle<()>>);

impl Places {
    /// `limit` places, at least 1.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, tasks: Arc::new(Mutex::new(Tasks(VecDeque::with_capacity(limit)))) }
    }

    /// Gives `task` a place.
    pub(super) fn take(&self, task: JoinHandle<()>) {
        let tasks = &mut self.tasks().0;
        if tasks.len() >= self.limit {
            tasks.retain(|task| !task.is_finished());
        }
        while tasks.len() >= self.limit {
            tasks.pop_front().inspect(JoinHandle::abort);
        }
        tasks.push_back(task);
    }

    /// Waits until nobody has a place.
    ///
    /// # Cancel safety
    /// Cancel-safe but for one task, which goes on without a place.
    pub(super) async fn idle(&self) {
        loop {
            // Not under the lock: a task may take a place.
            let Some(oldest) = self.tasks().0.pop_front() else { return };
            let _ = oldest.await;
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
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
        let places = Places::new(3);
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
        let other = places.clone();
        drop(places);
        assert!(told.try_recv().is_err());
        drop(other);
        assert!([told.recv().await, told.recv().await, told.recv().await].contains(&Some(5)));
    }

    #[tokio::test]
    async fn it_is_idle_once_all_have_ended_by_themselves() {
        let places = Places::new(3);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        places.take(tokio::spawn(async {}));
        places.take(tokio::spawn(async { _ = ended.await }));
        let waiter = tokio::spawn(async move { places.idle().await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        end.send(()).unwrap();
        waiter.await.unwrap();
    }
}
