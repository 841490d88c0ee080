//! Content-addressed bytes, written and kept in pieces so that nobody holds a large one whole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::crypt::hex;
use crate::error::Error;
use crate::requests::Request;
use crate::store::Store;

/// Bytes of a piece.
const CHUNK: usize = 1 << 20;

/// What the writer does to blobs. All of it can be done again.
#[derive(Clone, Debug)]
pub(crate) enum BlobWrite {
    /// One more piece of an upload; the first one begins it.
    Chunk { id: i64, position: i64, bytes: Bytes, now: i64 },
    /// The upload is whole.
    Finish { id: i64, digest: String, size: i64, now: i64 },
    /// The upload is given up.
    Abandon { id: i64 },
    /// It is to stay for another grace time.
    Touch { digest: String, now: i64 },
    /// Everything that nobody touched since `before` and that is not kept goes: unfinished uploads too.
    Collect { keep: Vec<String>, before: i64 },
}

impl BlobWrite {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Chunk { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

/// An upload under way. Dropped before [`finish`](Self::finish), it leaves nothing.
pub struct BlobWriter {
    store: Store,
    id: i64,
    digest: Sha256,
    size: u64,
    position: i64,
    pending: BytesMut,
    finished: bool,
}

impl BlobWriter {
    /// Takes more bytes. Waits for the disk once in a while, so that a fast sender does not fill memory.
    ///
    /// # Errors
    /// When they cannot be stored.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.digest.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.pending.len()));
            self.pending.extend_from_slice(now);
            bytes = later;
            if self.pending.len() == CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Bytes taken so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let chunk = BlobWrite::Chunk {
            id: self.id,
            position: self.position,
            bytes: self.pending.split().freeze(),
            now: self.store.clock(),
        };
        self.position += 1;
        self.store.blob(chunk).await
    }

    /// Keeps what was taken under its digest: `sha256:` and hex.
    ///
    /// # Errors
    /// When it cannot be stored, or the upload took so long that it was collected meanwhile.
    pub async fn finish(mut self) -> Result<String, Error> {
        if self.position == 0 || !self.pending.is_empty() {
            self.flush().await?;
        }
        let digest = format!("sha256:{}", hex(&std::mem::take(&mut self.digest).finalize()));
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        self.store
            .blob(BlobWrite::Finish { id: self.id, digest: digest.clone(), size, now: self.store.clock() })
            .await?;
        self.finished = true;
        if !self.store.engine().has_blob(&digest).await? {
            return Err(Error::Database("the upload took too long: what was there of it has been collected".into()));
        }
        Ok(digest)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.finished && self.position > 0 {
            // When the writer has no time for it, it is collected.
            self.store.blob_later(BlobWrite::Abandon { id: self.id });
        }
    }
}

impl Store {
    async fn blob(&self, write: BlobWrite) -> Result<(), Error> {
        self.ask(|reply| Request::Blob(write, reply)).await
    }

    fn blob_later(&self, write: BlobWrite) {
        let (reply, _nobody) = tokio::sync::oneshot::channel();
        self.tell(Request::Blob(write, reply));
    }

    /// Begins an upload.
    pub fn blob_writer(&self) -> BlobWriter {
        // Random: nothing has to be asked before the first piece is there.
        let id = (uuid::Uuid::new_v4().as_u128() >> 65) as i64;
        let (digest, pending) = (Sha256::new(), BytesMut::new());
        BlobWriter { store: self.clone(), id, digest, size: 0, position: 0, pending, finished: false }
    }

    /// Keeps bytes under their digest.
    ///
    /// # Errors
    /// When they cannot be stored.
    pub async fn put_blob(&self, bytes: impl Into<Bytes>) -> Result<String, Error> {
        let mut writer = self.blob_writer();
        writer.write(&bytes.into()).await?;
        writer.finish().await
    }

    /// Bytes by their digest; checked against it.
    ///
    /// # Errors
    /// When they cannot be read, or are not what they were.
    pub async fn get_blob(&self, wanted: &str) -> Result<Option<Bytes>, Error> {
        let Some(bytes) = self.engine().blob(wanted).await? else { return Ok(None) };
        let checked =
            tokio::task::spawn_blocking(move || (format!("sha256:{}", hex(&Sha256::digest(&bytes))), bytes)).await;
        let (digest, bytes) = checked.map_err(|error| Error::Database(error.to_string()))?;
        if digest != wanted {
            return Err(Error::Corrupt(format!("blob {wanted}"), "its bytes have another digest".to_string()));
        }
        Ok(Some(bytes.into()))
    }

    /// Has a blob stay for another grace time; false when there is none. Ask this before writing an object that names it: after that it is not
    /// collected before the object is seen.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn touch_blob(&self, digest: &str) -> Result<bool, Error> {
        if !self.engine().has_blob(digest).await? {
            return Ok(false);
        }
        self.blob(BlobWrite::Touch { digest: digest.to_owned(), now: self.clock() }).await?;
        // It may have been collected in between; from now on it is not.
        self.engine().has_blob(digest).await
    }

    /// Removes blobs that are not in `keep` and were not touched for `grace`, and uploads that were not finished in that time. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collect_blobs(&self, keep: Vec<String>, grace: Duration) -> Result<usize, Error> {
        let before = self.clock().saturating_sub(i64::try_from(grace.as_micros()).unwrap_or(i64::MAX));
        let old = self.engine().old_blobs(&keep, before).await?;
        if old > 0 {
            self.blob(BlobWrite::Collect { keep, before }).await?;
        }
        Ok(old)
    }
}
