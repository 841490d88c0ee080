//! Where the stores of tests are.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sqlx::Connection as _;
use tempfile::TempDir;
use threeport_store::{Config, Database, Key32, Store};
use threeport_test_postgres::Postgres;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// One server for all tests of this process; each has a database of its own.
pub(crate) fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start().unwrap())
}

/// A store in a directory that goes with it, or in a database of the tests' server.
pub(crate) struct Temp {
    pub(crate) kind: Kind,
    directory: Arc<TempDir>,
    database: Database,
    keep_changes: u64,
    pub(crate) store: Store,
}

impl std::ops::Deref for Temp {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Temp {
    pub(crate) async fn open(kind: Kind, keep_changes: u64) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let database = match kind {
            Kind::Sqlite => Database::Sqlite(directory.path().join("data/threeport.db")),
            Kind::Postgres => {
                let made = tokio::task::spawn_blocking(|| server().database().unwrap());
                Database::Postgres(made.await.unwrap())
            }
        };
        let config = Config { keep_changes, ..Config::new(database.clone(), Key32::new([7; 32])) };
        Self { kind, directory, database, keep_changes, store: Store::open(config).await.unwrap() }
    }

    /// How another server would open it.
    pub(crate) fn config(&self) -> Config {
        Config { keep_changes: self.keep_changes, ..Config::new(self.database.clone(), Key32::new([7; 32])) }
    }

    /// Stops the server and starts it again on the same data.
    pub(crate) async fn reopen(self) -> Self {
        self.store.close().await.unwrap();
        self.opened().await
    }

    /// Starts a server on the data of one that has stopped.
    pub(crate) async fn opened(self) -> Self {
        let store = Store::open(self.config()).await.unwrap();
        Self { store, ..self }
    }

    /// Another host on the same database.
    pub(crate) async fn beside(&self) -> Self {
        let store = Store::open(self.config()).await.unwrap();
        Self {
            kind: self.kind,
            directory: self.directory.clone(),
            database: self.database.clone(),
            keep_changes: self.keep_changes,
            store,
        }
    }

    /// The folder that everything is in.
    pub(crate) fn data(&self) -> PathBuf {
        match self.kind {
            Kind::Sqlite => self.directory.path().join("data"),
            Kind::Postgres => server().data(),
        }
    }

    /// The database's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("data/threeport.db")
    }

    /// Changes the database behind the store's back.
    pub(crate) async fn sql(&self, sql: &'static str) {
        match &self.database {
            Database::Sqlite(path) => {
                let mut conn = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
            Database::Postgres(url) => {
                let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
        }
    }

    /// The number that a query gives.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        match &self.database {
            Database::Sqlite(path) => {
                let mut conn = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
            }
            Database::Postgres(url) => {
                let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
            }
        }
    }
}

impl Kind {
    /// Every new work item fails, with "disk on fire".
    pub(crate) fn failing_work(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "create trigger broken before insert on workitem begin select raise(abort, 'disk on fire'); end"
            }
            Self::Postgres => {
                "create function broken() returns trigger language plpgsql as $$ begin raise exception 'disk on fire'; end $$; \
                 create trigger broken before insert on workitem for each row execute function broken()"
            }
        }
    }

    /// They work again.
    pub(crate) fn working_work(self) -> &'static str {
        match self {
            Self::Sqlite => "drop trigger broken",
            Self::Postgres => "drop trigger broken on workitem",
        }
    }

    /// What the object `bad` carries cannot be read any more.
    pub(crate) fn damage(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "update carried set value = x'00' where object = (select id from object where name = 'bad')"
            }
            Self::Postgres => {
                "update carried set value = '\\x00' where object = (select id from object where name = 'bad')"
            }
        }
    }
}
