//! What the helper is told to do: the body of the first message that counts.

use std::io;

use super::protocol::{Reader, Writer};
use super::rung::Rung;

/// A user, its group and the supplementary groups, as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The network of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// None but loopback.
    None,
}

/// Something of the host that the step sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where it comes from, as the host program opened it: checked against the descriptor that came along.
    pub source: Vec<u8>,
    /// Where the step sees it, below the root, without a leading slash.
    pub target: Vec<u8>,
    /// Whether the step may not write to it.
    pub read_only: bool,
}

/// The order to run one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// How.
    pub rung: Rung,
    /// Program and arguments.
    pub arguments: Vec<Vec<u8>>,
    /// The whole environment, `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
    /// Where it starts, below the root.
    pub directory: Vec<u8>,
    /// Whom it runs as.
    pub user: Ids,
    /// Its host name; empty for the host's.
    pub hostname: Vec<u8>,
    /// Its network.
    pub network: Network,
    /// Whether it gets a terminal of its own.
    pub terminal: bool,
    /// Whether the root cannot be written to.
    pub read_only: bool,
    /// Contents of files that are shown in place of the tree's: path below the root, content.
    pub files: Vec<(Vec<u8>, Vec<u8>)>,
    /// What of the host is shown.
    pub binds: Vec<Bind>,
}

impl Order {
    /// The body of a message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(self.rung as u64).list(&self.arguments).list(&self.environment).bytes(&self.directory);
        out.number(self.user.uid.into()).number(self.user.gid.into()).number(self.user.groups.len() as u64);
        for &group in &self.user.groups {
            out.number(group.into());
        }
        out.bytes(&self.hostname).number((self.network == Network::None).into());
        out.number(self.terminal.into()).number(self.read_only.into());
        let (paths, contents): (Vec<_>, Vec<_>) = self.files.iter().cloned().unzip();
        out.list(&paths).list(&contents).number(self.binds.len() as u64);
        for bind in &self.binds {
            out.bytes(&bind.source).bytes(&bind.target).number(bind.read_only.into());
        }
        out.finish()
    }

    /// Reads the body of a message.
    pub fn decode(body: &[u8]) -> io::Result<Order> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "a message makes no sense");
        let mut body = Reader::new(body);
        let rung = Rung::from_number(body.number()?).ok_or_else(bad)?;
        let (arguments, environment, directory) = (body.list()?, body.list()?, body.bytes()?);
        let (uid, gid, count) = (body.small()?, body.small()?, body.number()?);
        if count > 65_536 {
            return Err(bad());
        }
        let groups = (0..count).map(|_| body.small()).collect::<io::Result<_>>()?;
        let hostname = body.bytes()?;
        let network = if body.number()? == 1 { Network::None } else { Network::Host };
        let (terminal, read_only) = (body.number()? == 1, body.number()? == 1);
        let (paths, contents, count) = (body.list()?, body.list()?, body.number()?);
        if paths.len() != contents.len() || count > 64 || arguments.is_empty() {
            return Err(bad());
        }
        let mut binds = Vec::new();
        for _ in 0..count {
            let (source, target, read_only) = (body.bytes()?, body.bytes()?, body.number()? == 1);
            binds.push(Bind { source, target, read_only });
        }
        body.end()?;
        Ok(Order {
            rung,
            arguments,
            environment,
            directory,
            user: Ids { uid, gid, groups },
            hostname,
            network,
            terminal,
            read_only,
            files: paths.into_iter().zip(contents).collect(),
            binds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_the_way_and_damage_does_not() {
        let order = Order {
            rung: Rung::Notify,
            arguments: vec![b"sh".to_vec(), b"-c".to_vec(), b"\xff".to_vec()],
            environment: vec![b"A=B".to_vec()],
            directory: b"srv".to_vec(),
            user: Ids { uid: 5, gid: 6, groups: vec![7, 8] },
            hostname: b"box".to_vec(),
            network: Network::None,
            terminal: true,
            read_only: false,
            files: vec![(b"etc/hosts".to_vec(), b"x".to_vec())],
            binds: vec![Bind { source: b"/a".to_vec(), target: b"b".to_vec(), read_only: true }],
        };
        let body = order.encode();
        assert_eq!(Order::decode(&body).unwrap(), order);
        for at in 0..body.len() {
            assert!(Order::decode(&body[..at]).is_err(), "cut at {at}");
        }
    }
}
