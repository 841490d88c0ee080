//! How the server is reached: TLS, time limits, and which errors mean what.

use std::net::IpAddr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection as _, PgConnection};

use crate::error::Error;

/// Setting up a connection takes at most this long.
const CONNECT: Duration = Duration::from_secs(5);

/// Oldest server that has all that is used here.
const OLDEST: i64 = 14;

/// On every connection. A statement that hangs and a host that stops in the middle of a transaction hold up the others no longer than this; the server
/// looks by itself whether a client is still there.
const SESSION: &str = "set statement_timeout = '30s'; set lock_timeout = '10s'; set idle_in_transaction_session_timeout = '2s'; \
     set client_connection_check_interval = '2s'; set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3; \
     set tcp_user_timeout = '10s'; set client_min_messages = warning; set time zone 'UTC'";

/// Where a database is and how it is talked to.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) options: PgConnectOptions,
    /// To name it in errors; without the password.
    pub(super) shown: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let refused = |why: String| Error::Database(format!("the address of the database cannot be used: {why}"));
        let mut options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| refused(error.to_string()))?;
        let host = options.get_host().to_owned();
        let asked =
            ["sslmode=", "ssl-mode="].iter().any(|name| url.contains(name)) || std::env::var_os("PGSSLMODE").is_some();
        if !asked && options.get_socket().is_none() && !is_here(&host) {
            // Whoever stands between must not read along unless the operator says so.
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        let database = options.get_database().unwrap_or_else(|| options.get_username()).to_owned();
        let shown = format!("postgres://{}@{host}:{}/{database}", options.get_username(), options.get_port());
        let options = options.application_name("threeport").disable_statement_logging();
        Ok(Self { options, shown })
    }

    /// A connection with the time limits set.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        let connecting = async {
            let mut conn = self.options.connect().await?;
            prepare(&mut conn).await?;
            Ok(conn)
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected.map_err(|error| self.named(&error)),
            Err(_elapsed) => Err(self.silent()),
        }
    }

    /// It hangs, or something between does.
    pub(super) fn silent(&self) -> Error {
        Error::Database(format!("{} does not answer; is it up, and is that its address?", self.shown))
    }

    /// An error with the address and what to do about it.
    pub(super) fn named(&self, error: &sqlx::Error) -> Error {
        let code = code(error);
        let fix = match code.as_deref() {
            Some("28P01" | "28000") => {
                "; check user and password in the database's address, and pg_hba.conf on its server"
            }
            Some("3D000") => "; make the database first (createdb), or correct its name",
            Some("42501") => "; the user must own the database's schema: grant create on schema public to it",
            Some("25006") => "; it is read-only: is it a replica? give the address of the primary server",
            Some("53300") => "; raise max_connections on its server: each host uses eight",
            _ if matches!(error, sqlx::Error::Tls(_)) || error.to_string().contains("certificate") => {
                "; give the authority's certificate with sslrootcert=FILE in the address, or sslmode=require to encrypt without knowing whom for"
            }
            _ => "",
        };
        Error::Database(format!("{}: {error}{fix}", self.shown))
    }

    /// Whether the server can be used, asked once at the start.
    pub(super) async fn check(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let sql = "select current_setting('server_version_num')::bigint, pg_is_in_recovery()";
        let (version, replica): (i64, bool) =
            sqlx::query_as(sql).fetch_one(conn).await.map_err(|error| self.named(&error))?;
        if replica {
            let why = format!("{} is a read-only replica: give the address of the primary server", self.shown);
            return Err(Error::Database(why));
        }
        if version / 10_000 < OLDEST {
            let why = format!("{} is PostgreSQL {}; {OLDEST} or newer is needed", self.shown, version / 10_000);
            return Err(Error::Database(why));
        }
        Ok(())
    }

    /// Whether it can be written to, asked of each new connection: a server may become a replica, and a name may come to mean one.
    pub(super) async fn writable(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let sql = "select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean";
        let frozen: bool = sqlx::query_scalar(sql).fetch_one(conn).await.map_err(|error| self.named(&error))?;
        if frozen {
            let why =
                format!("{} is read-only now: is it a replica? give the address of the primary server", self.shown);
            return Err(Error::Database(why));
        }
        Ok(())
    }
}

/// Sets the time limits of a connection.
pub(super) async fn prepare(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SESSION).execute(conn).await.map(drop)
}

/// A socket, or an address of this machine.
fn is_here(host: &str) -> bool {
    let loopback = || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
    host.starts_with('/') || host == "localhost" || loopback()
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(Into::into)
}

/// An error of a statement.
pub(super) fn failed(error: sqlx::Error) -> Error {
    match code(&error).as_deref() {
        // disk_full
        Some("53100") => Error::Full(error.to_string()),
        // read_only_sql_transaction
        Some("25006") => Error::Database(format!(
            "the database is read-only now ({error}): is it a replica? give the address of the primary server"
        )),
        _ => Error::Database(error.to_string()),
    }
}

/// Whether the same may succeed on another connection a moment later: the server went away, or others were faster.
pub(super) fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(_) => code(error).is_some_and(|code| {
            // Connection exceptions, a server that stops or starts, a session that was ended, serialization failures, deadlocks; a group whose place
            // was taken; a lock that somebody held too long.
            code.starts_with("08")
                || ["57P01", "57P02", "57P03", "57P05", "25P03", "40001", "40P01", "23505", "55P03", "25006"]
                    .contains(&code.as_str())
        }),
        _ => false,
    }
}

/// Says goodbye; what comes of it does not matter.
pub(super) async fn close(conn: PgConnection) {
    let _timed_out = tokio::time::timeout(Duration::from_secs(1), conn.close()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_elsewhere_must_show_its_certificate_unless_told_otherwise() {
        let mode = |url: &str| format!("{:?}", Address::parse(url).unwrap().options.get_ssl_mode());
        assert_eq!(mode("postgres://u@db.example.dev/threeport"), "VerifyFull");
        assert_eq!(mode("postgres://u@db.example.dev/threeport?sslmode=require"), "Require");
        for here in ["127.0.0.1", "localhost", "[::1]"] {
            assert_eq!(mode(&format!("postgres://u@{here}:5433/threeport")), "Prefer");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let address = Address::parse("postgres://me:hunter2@127.0.0.1:5433/tp").unwrap();
        assert_eq!(address.shown, "postgres://me@127.0.0.1:5433/tp");
    }
}
