//! Records of an established connection, sealed and opened in place (RFC 8446 section 5.2; RFC 5246
//! section 6.2.3 with RFC 5288 and RFC 7905).
//!
//! rustls agrees on keys; what follows is the hot path of every request under TLS. rustls would copy each
//! answer into a buffer of its own, queue it, and keep 4 KiB per connection for what comes next. Here a
//! record is sealed where it is written from and opened where it was read to.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, MAX_TAG_LEN,
    NONCE_LEN, Nonce, UnboundKey,
};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ProtocolVersion};

/// Bytes of a record's header: its type, a version that says nothing, its length.
const HEADER: usize = 5;

/// Most bytes of content in a record (RFC 8446 section 5.1).
pub(super) const CONTENT_MAX: usize = 1 << 14;

/// Bytes of a nonce that travel along in TLS 1.2 with AES-GCM (RFC 5288 section 3).
const EXPLICIT: usize = 8;

/// What a record holds (RFC 8446 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Content {
    Alert = 21,
    Handshake = 22,
    Data = 23,
}

impl Content {
    fn of(byte: u8) -> Result<Self, AlertDescription> {
        match byte {
            21 => Ok(Self::Alert),
            22 => Ok(Self::Handshake),
            23 => Ok(Self::Data),
            _ => Err(AlertDescription::UnexpectedMessage),
        }
    }
}

/// How a record is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// TLS 1.3: what it holds is sealed, too.
    Tls13,
    /// TLS 1.2 with AES-GCM: a part of the nonce travels along.
    Tls12Gcm,
    /// TLS 1.2 with ChaCha20-Poly1305.
    Tls12ChaCha,
}

/// The key of one direction, and how many records it was used for.
struct Key {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The number of the next record, which no two records share: else the key is lost.
    number: u64,
    form: Form,
}

impl Key {
    fn new(
        version: ProtocolVersion,
        (number, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, rustls::Error> {
        let gcm = match version {
            ProtocolVersion::TLSv1_3 => Form::Tls13,
            _ => Form::Tls12Gcm,
        };
        let chacha = match version {
            ProtocolVersion::TLSv1_3 => Form::Tls13,
            _ => Form::Tls12ChaCha,
        };
        let (algorithm, key, iv, form): (&'static Algorithm, _, _, _) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, gcm),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, chacha)
            }
            _ => return Err(rustls::Error::General("an unknown cipher".into())),
        };
        let unusable = || rustls::Error::General("keys of a wrong length".into());
        let unbound = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unusable())?;
        Ok(Self {
            key: LessSafeKey::new(unbound),
            iv: iv.as_ref().try_into().map_err(|_| unusable())?,
            number,
            form,
        })
    }

    /// The nonce of the next record: its number, hidden (RFC 8446 section 5.3).
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let number = self.number.to_be_bytes();
        let tail = nonce[NONCE_LEN - number.len()..].iter_mut();
        tail.zip(number).for_each(|(byte, number)| *byte ^= number);
        nonce
    }

    /// What TLS 1.2 authenticates beside the content (RFC 5246 section 6.2.3.3).
    fn aad_tls12(&self, content: u8, len: usize) -> Aad<[u8; 13]> {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.number.to_be_bytes());
        aad[8] = content;
        aad[9..11].copy_from_slice(&[3, 3]);
        aad[11..].copy_from_slice(&length(len));
        Aad::from(aad)
    }
}

/// A length in a header. Records are short, so it always fits.
fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// Seals what we send.
pub(super) struct Sealer {
    key: Key,
    /// So many records may be sealed with one key.
    pub(super) limit: u64,
}

impl Sealer {
    /// Seals with `secrets`, from the record of their number on.
    ///
    /// # Errors
    /// When the cipher is not known here.
    pub(super) fn new(
        version: ProtocolVersion,
        secrets: (u64, ConnectionTrafficSecrets),
        limit: u64,
    ) -> Result<Self, rustls::Error> {
        let key = Key::new(version, secrets)?;
        Ok(Self { key, limit })
    }

    /// Whether the key has sealed as many records as it may.
    pub(super) fn is_worn(&self) -> bool {
        self.key.number >= self.limit
    }

    /// Appends to `out` a record with what `fill` appends, at most [`CONTENT_MAX`] bytes.
    ///
    /// # Errors
    /// When the cipher fails, after which `out` must not be sent.
    pub(super) fn seal(
        &mut self,
        content: Content,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), AlertDescription> {
        let (start, nonce) = (out.len(), self.key.nonce());
        out.extend_from_slice(&[0; HEADER]);
        if self.key.form == Form::Tls12Gcm {
            out.extend_from_slice(&nonce[NONCE_LEN - EXPLICIT..]);
        }
        let from = out.len();
        fill(out);
        let len = out.len() - from;
        debug_assert!(len <= CONTENT_MAX, "{len} bytes in a record");
        if self.key.form == Form::Tls13 {
            out.push(content as u8);
        }
        let outer = match self.key.form {
            Form::Tls13 => Content::Data,
            _ => content,
        };
        let [high, low] = length(out.len() - start - HEADER + MAX_TAG_LEN);
        let header = [outer as u8, 3, 3, high, low];
        out[start..start + HEADER].copy_from_slice(&header);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (key, sealed) = (&self.key.key, &mut out[from..]);
        let tag = match self.key.form {
            Form::Tls13 => key.seal_in_place_separate_tag(nonce, Aad::from(header), sealed),
            _ => {
                let aad = self.key.aad_tls12(content as u8, len);
                key.seal_in_place_separate_tag(nonce, aad, sealed)
            }
        };
        let tag = tag.map_err(|_| AlertDescription::InternalError)?;
        out.extend_from_slice(tag.as_ref());
        self.key.number += 1;
        Ok(())
    }
}

/// Opens what the peer sent.
pub(super) struct Opener(Key);

impl Opener {
    /// Opens with `secrets`, from the record of their number on.
    ///
    /// # Errors
    /// When the cipher is not known here.
    pub(super) fn new(
        version: ProtocolVersion,
        secrets: (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, rustls::Error> {
        Key::new(version, secrets).map(Self)
    }

    /// Whether this is TLS 1.3.
    pub(super) fn is_tls13(&self) -> bool {
        self.0.form == Form::Tls13
    }

    /// The length of the record that `bytes` begin with, its header included. None: too few to tell.
    ///
    /// # Errors
    /// When it is longer than records may be.
    pub(super) fn frame(&self, bytes: &[u8]) -> Result<Option<usize>, AlertDescription> {
        let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        // RFC 8446 section 5.2, RFC 5246 section 6.2.3.
        let expansion = if self.is_tls13() { 256 } else { 2048 };
        match usize::from(u16::from_be_bytes([high, low])) {
            len if len > CONTENT_MAX + expansion => Err(AlertDescription::RecordOverflow),
            len => Ok(Some(HEADER + len)),
        }
    }

    /// What `record`, header included, holds.
    ///
    /// # Errors
    /// The alert that the peer has earned, when it is not a record that the peer sealed.
    pub(super) fn open<'a>(
        &mut self,
        record: &'a mut [u8],
    ) -> Result<(Content, &'a [u8]), AlertDescription> {
        let (header, sealed) = record
            .split_first_chunk_mut::<HEADER>()
            .ok_or(AlertDescription::DecodeError)?;
        let opened = match self.0.form {
            Form::Tls13 => self.open_tls13(*header, sealed),
            Form::Tls12Gcm => self.open_tls12_gcm(header[0], sealed),
            Form::Tls12ChaCha => self.open_tls12(header[0], self.0.nonce(), sealed),
        }?;
        if opened.1.len() > CONTENT_MAX {
            return Err(AlertDescription::RecordOverflow);
        }
        self.0.number += 1;
        Ok(opened)
    }

    fn open_tls13<'a>(
        &self,
        header: [u8; HEADER],
        sealed: &'a mut [u8],
    ) -> Result<(Content, &'a [u8]), AlertDescription> {
        if header[0] != Content::Data as u8 {
            return Err(AlertDescription::UnexpectedMessage);
        }
        let nonce = Nonce::assume_unique_for_key(self.0.nonce());
        let opened = self.0.key.open_in_place(nonce, Aad::from(header), sealed);
        let opened = opened.map_err(|_| AlertDescription::BadRecordMac)?;
        // The content's type is the last byte that is not padding.
        let end = opened.iter().rposition(|byte| *byte != 0);
        let end = end.ok_or(AlertDescription::UnexpectedMessage)?;
        Ok((Content::of(opened[end])?, &opened[..end]))
    }

    fn open_tls12_gcm<'a>(
        &self,
        content: u8,
        sealed: &'a mut [u8],
    ) -> Result<(Content, &'a [u8]), AlertDescription> {
        let (explicit, sealed) = sealed
            .split_first_chunk_mut::<EXPLICIT>()
            .ok_or(AlertDescription::BadRecordMac)?;
        let mut nonce = self.0.iv;
        nonce[NONCE_LEN - EXPLICIT..].copy_from_slice(explicit);
        self.open_tls12(content, nonce, sealed)
    }

    fn open_tls12<'a>(
        &self,
        content: u8,
        nonce: [u8; NONCE_LEN],
        sealed: &'a mut [u8],
    ) -> Result<(Content, &'a [u8]), AlertDescription> {
        let len = sealed.len().checked_sub(MAX_TAG_LEN);
        let aad = self
            .0
            .aad_tls12(content, len.ok_or(AlertDescription::BadRecordMac)?);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.key.open_in_place(nonce, aad, sealed);
        let opened = opened.map_err(|_| AlertDescription::BadRecordMac)?;
        Ok((Content::of(content)?, opened))
    }
}
