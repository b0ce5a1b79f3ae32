//! What `Connection` and `Upgrade` ask for (RFC 9110 sections 7.6.1 and 7.8).
//!
//! Marks the fields that options nominate, so that they are not forwarded, and refuses options
//! that nominate what the next hop decides by: removing `X-Forwarded-For` or `Authorization` on
//! a stranger's word is an attack with a name (hop-by-hop header abuse).

use bytes::Bytes;

use crate::error::MessageError;
use crate::fields::Fields;
use crate::grammar::{self, list_members};
use crate::known::Known;
use crate::message::Version;

/// More options than this are not needed by anyone, and each costs a pass over the fields.
const OPTIONS_MAX: usize = 32;

/// The options that change how the connection is used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl Options {
    /// Reads all `Connection` lines and withholds what they nominate.
    pub(crate) fn read(fields: &mut Fields) -> Result<Self, MessageError> {
        let mut options = Self::default();
        if !fields.contains(Known::Connection) {
            return Ok(options);
        }
        if options.collect(fields)? {
            withhold_nominated(fields);
        }
        Ok(options)
    }

    /// Whether the connection may serve another message (RFC 9112 section 9.3).
    pub(crate) fn persists(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Whether a field is nominated that its name alone would not withhold.
    fn collect(&mut self, fields: &Fields) -> Result<bool, MessageError> {
        let mut nominates = false;
        let members = fields.get_all(Known::Connection).flat_map(list_members);
        for (index, option) in members.enumerate() {
            if index == OPTIONS_MAX || !grammar::is_token(option) {
                return Err(MessageError::ConnectionInvalid);
            }
            nominates |= self.add(option)?;
        }
        Ok(nominates)
    }

    fn add(&mut self, option: &[u8]) -> Result<bool, MessageError> {
        match Known::of(option) {
            Known::KeepAlive => self.keep_alive = true,
            Known::Upgrade => self.upgrade = true,
            Known::Other if option.eq_ignore_ascii_case(b"close") => self.close = true,
            known if !known.may_be_nominated() => {
                return Err(MessageError::ConnectionNominatesProtected);
            }
            known => return Ok(!known.is_hop_by_hop()),
        }
        Ok(false)
    }
}

fn withhold_nominated(fields: &mut Fields) {
    let source = fields.clone();
    for option in source.get_all(Known::Connection).flat_map(list_members) {
        fields.withhold_named(option);
    }
}

/// The protocols that `Upgrade` lists, if `Connection` announces it in HTTP/1.1. More than one
/// `Upgrade` line counts as none: to ignore an upgrade is always allowed.
pub(crate) fn upgrade(
    fields: &Fields,
    options: Options,
    version: Version,
) -> Result<Option<Bytes>, MessageError> {
    if !options.upgrade || version == Version::Http10 {
        return Ok(None);
    }
    let Ok(value) = fields.sole(Known::Upgrade) else {
        return Ok(None);
    };
    if !list_members(value).all(is_protocol) {
        return Err(MessageError::UpgradeInvalid);
    }
    let named = list_members(value).next().is_some();
    Ok(fields.get_bytes(Known::Upgrade).filter(|_| named))
}

/// `token ["/" token]`
fn is_protocol(member: &[u8]) -> bool {
    let mut parts = member.splitn(2, |&b| b == b'/');
    parts.all(grammar::is_token)
}
