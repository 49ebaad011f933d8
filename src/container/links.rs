//! Links: the containers that one finds by name, in the network that it shares with them.

use std::os::fd::{AsFd, OwnedFd};

use super::control::{FAILED, NETWORK, reply, request};
use super::handle::Container;
use crate::error::{At, Error, ErrorKind, Result};
use crate::fs::stat::stat_fd;
use crate::sandbox::protocol::{Channel, Message, Reader, Writer};
use crate::sandbox::{Joined, Network, StepOptions};

const OP: &str = "link container";
/// The address of all containers in one network: each has the same loopback interface.
const ADDRESS: &str = "127.0.0.1";

/// Answers a request for the network of a container that runs.
pub(super) fn answer(channel: &Channel, network: Network, joined: Option<&Joined>) -> std::io::Result<()> {
    let mut body = Writer::default();
    body.number((network != Network::Host).into());
    body.number(joined.is_some_and(|joined| joined.network == Network::Own).into());
    let with: Vec<_> = joined.iter().map(|joined| joined.namespace.as_fd()).collect();
    channel.send(NETWORK, &body.finish(), &with)
}

impl Container {
    /// Gives a command the network of the containers that it is linked with, and lines for /etc/hosts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where one of them does not run and is to have a network of its own, or where they have different ones;
    /// [`ErrorKind::Unsupported`] where it has one that cannot be joined.
    pub(super) fn link(&self, options: &mut StepOptions) -> Result<()> {
        let settings = &self.record.settings;
        let mut first: Option<(String, Option<Joined>)> = None;
        for link in &settings.links {
            let (name, alias) = link.split_once(':').unwrap_or((link, link));
            let other = Container::open(&self.store, name)?;
            let joined = other.network_to_join()?;
            match &first {
                None => first = Some((other.name().into(), joined)),
                Some((known, theirs)) if !is_same(theirs.as_ref(), joined.as_ref())? => {
                    let message =
                        format!("it has another network than {known}, and a container can be in one alone");
                    return Err(Error::invalid(OP, message).with_path(other.name()));
                }
                Some(_) => {}
            }
            let mut names = vec![alias, other.name(), other.hostname()];
            names.dedup();
            options.hosts.extend(names.into_iter().map(|name| (name.to_string(), ADDRESS.to_string())));
        }
        let Some((name, Some(joined))) = first else { return Ok(()) };
        if !settings.ports.is_empty() {
            let message = "its network has the ports that it was started with, and no more can be added";
            let hint = "publish the port with that container, or leave out the link";
            return Err(Error::invalid(OP, message).with_path(name).with_hint(hint));
        }
        (options.network, options.joined) = (Network::Joined, Some(joined));
        Ok(())
    }

    /// Returns its network, for another container to join; `None` for the host's.
    fn network_to_join(&self) -> Result<Option<Joined>> {
        let settings = &self.record.settings;
        let channel = match self.reach(OP) {
            // What its network will be is clear.
            Err(error)
                if error.kind() == ErrorKind::InvalidArgument
                    && settings.network() == Network::Host
                    && settings.links.is_empty() =>
            {
                return Ok(None);
            }
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                return Err(error.with_hint("start the other container first"));
            }
            other => other?,
        };
        request(&channel, NETWORK, &[], &[], OP)?;
        let gone = || Error::invalid(OP, "it has ended").with_path(self.name());
        let (body, descriptors) = match reply(&channel, OP)?.ok_or_else(gone)? {
            Message { kind: NETWORK, body, descriptors, .. } => (body, descriptors),
            message if message.kind == FAILED => return Err(super::client::failure(OP, &message)),
            _ => return Err(Error::corrupt(OP, "the supervisor sent an invalid message")),
        };
        let mut body = Reader::new(&body);
        let mut flag = || -> Result<bool> { Ok(body.number().at(OP, "ask supervisor")? == 1) };
        let (apart, own) = (flag()?, flag()?);
        let namespace: Option<OwnedFd> = descriptors.into_iter().next();
        match (apart, namespace) {
            (false, _) => Ok(None),
            (true, Some(namespace)) => {
                Ok(Some(Joined { namespace, network: if own { Network::Own } else { Network::None } }))
            }
            (true, None) => {
                let message = "it has no network, and without namespaces there is none to share";
                Err(Error::new(ErrorKind::Unsupported, OP, message).with_path(self.name()))
            }
        }
    }
}

/// Reports whether two networks are one.
fn is_same(one: Option<&Joined>, other: Option<&Joined>) -> Result<bool> {
    let identity = |joined: &Joined| -> Result<(u64, u64)> {
        let stat = stat_fd(&joined.namespace).at(OP, "look at network")?;
        Ok((stat.dev, stat.ino))
    };
    Ok(one.map(identity).transpose()? == other.map(identity).transpose()?)
}
