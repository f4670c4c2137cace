//! `file/1` at the receiver.

use std::sync::Arc;

use dwcp_core::{Channel, Message};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::places::Place;
use super::{Disk, Intake, Places, Reception, Reply};
use crate::service::{ServiceError, codes, json};

/// Messages between the network and the disk.
const QUEUE: usize = 8;

/// Takes the files of one channel by the rules of `reception`, onto `disk`, if there is one of `places` for it.
///
/// # Errors
/// [`ServiceError`]; the sender has been told.
pub async fn receive(
    channel: Channel,
    reception: Option<&Reception>,
    disk: &Arc<Disk>,
    places: &Arc<Places>,
) -> Result<(), ServiceError> {
    let peer = channel.session().peer_id().to_owned();
    let (mut sender, mut receiver) = channel.split();
    let (reception, _place) = match admit(&peer, reception, places) {
        Ok(taken) => taken,
        Err(message) => {
            sender.send(json(&Reply::Failed { message: message.clone() })).await?;
            sender.finish();
            return Err(ServiceError::Refused(message));
        }
    };
    let (to_disk, from_network) = mpsc::channel(QUEUE);
    let (to_network, mut replies) = mpsc::channel(QUEUE);
    let answers_to = to_network.clone();
    let intake =
        Intake::new(reception.clone(), disk.clone(), &peer, move || answers_to.is_closed());
    // Hashing and writing block: they have a thread of their own for the time of the copy.
    let disk = tokio::task::spawn_blocking(move || write_all(intake, from_network, &to_network));
    let network = async {
        while let Some(message) = receiver.recv().await? {
            if to_disk.send(message).await.is_err() {
                return Ok(()); // the disk gave up; it has said why
            }
        }
        drop(to_disk);
        Ok::<_, ServiceError>(())
    };
    let mut refused = 0_u64;
    let answers = async {
        while let Some(reply) = replies.recv().await {
            match &reply {
                Reply::Saved { name, bytes, .. } => info!(peer, name, bytes, "file received"),
                Reply::Refused { name, message } => {
                    // The sender hears of each; here one line is enough.
                    refused += 1;
                    debug!(peer, name, message, "file refused");
                }
                _ => {}
            }
            sender.send(json(&reply)).await?;
            if let Reply::Failed { message } = reply {
                sender.finish();
                return Err(ServiceError::Refused(message));
            }
        }
        sender.finish();
        Ok(())
    };
    let result = tokio::try_join!(network, answers);
    if let Err(ServiceError::Channel(_)) = &result {
        sender.reset(codes::FAILED);
    }
    // The intake ends when nobody takes its answers any more.
    drop(replies);
    let _ = disk.await;
    if refused > 0 {
        warn!(peer, refused, "files of a copy were refused");
    }
    result.map(|_| ())
}

/// The rules for what `peer` sends, and its place; or why it may not, for people.
fn admit<'a>(
    peer: &String,
    reception: Option<&'a Reception>,
    places: &Arc<Places>,
) -> Result<(&'a Reception, Place), String> {
    let Some(rules) = reception else {
        return Err(
            "this node takes no files: its configuration has no files.receiveDirectory".into()
        );
    };
    if rules.from.as_ref().is_some_and(|nodes| !nodes.contains(peer)) {
        return Err(format!("this node takes no files from {peer}: see its files.from"));
    }
    places.take(peer).map(|place| (rules, place))
}

fn write_all(
    mut intake: Intake,
    mut messages: mpsc::Receiver<Message>,
    replies: &mpsc::Sender<Reply>,
) {
    while let Some(message) = messages.blocking_recv() {
        if replies.is_closed() {
            return;
        }
        let (reply, is_over) = match intake.take(&message) {
            Ok(None) => continue,
            Ok(Some(reply)) => (reply, false),
            Err(error) => (Reply::Failed { message: error.to_string() }, true),
        };
        if replies.blocking_send(reply).is_err() || is_over {
            return;
        }
    }
}
