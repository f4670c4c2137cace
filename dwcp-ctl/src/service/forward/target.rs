//! The end of a forward that connects to the target.

use std::time::Duration;

use dwcp_core::{Channel, Receiver, Sender};
use tokio::net::TcpStream;
use tracing::debug;

use super::{AllowList, Answer, Connect, ForwardCounts, pump};
use crate::service::{ServiceError, json, receive_first};

/// How long a target may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the target that the channel's first message names and pumps.
///
/// # Errors
/// [`ServiceError`] if the target is not allowed or does not answer; the peer has been told.
pub async fn serve_target(channel: Channel, allowed: &AllowList) -> Result<(), ServiceError> {
    let peer = channel.session().peer_id().to_owned();
    let mut channel = channel;
    let Channel { sender, receiver, .. } = &mut channel;
    let Connect { target, compress } = receive_first(sender, receiver).await?;
    channel.set_compression(compress);
    let (mut sender, receiver) = channel.split();
    if !allowed.allows(&peer, &target) {
        let message =
            format!("{target} is not among the forward targets that this node allows to {peer}");
        return refuse(sender, receiver, message).await;
    }
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&target)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return refuse(sender, receiver, format!("cannot connect to {target}: {error}")).await;
        }
        Err(_) => {
            let seconds = CONNECT_TIMEOUT.as_secs();
            let message = format!("{target} did not answer within {seconds} s");
            return refuse(sender, receiver, message).await;
        }
    };
    // Forwarded applications decide for themselves what to gather.
    let _ = stream.set_nodelay(true);
    sender.send(json(&Answer::Connected)).await?;
    if let Err(error) = pump(stream, sender, receiver, &ForwardCounts::default()).await {
        debug!(target, %error, "a forwarded connection was reset");
    }
    Ok(())
}

async fn refuse(
    mut sender: Sender,
    mut receiver: Receiver,
    message: String,
) -> Result<(), ServiceError> {
    sender.send(json(&Answer::Refused { message: message.clone() })).await?;
    sender.finish();
    // What the peer sent meanwhile has nowhere to go; it resets the channel once it has read the answer.
    while let Ok(Some(_)) = receiver.recv().await {}
    Err(ServiceError::Refused(message))
}
