//! The barrier, over real sockets and real databases: the same suite on SQLite and on PostgreSQL.

mod grpc;
mod postgres;
mod shop;
mod sqlite;
