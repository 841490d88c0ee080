//! The system tests: one binary, run by `tests/run`.

mod author;
mod clients;
mod clocks;
mod commands;
mod compare;
mod crash;
mod definitions;
mod disk;
mod go;
mod hostile;
mod hosts;
mod house;
mod nats;
mod operating;
mod outages;
mod path;
mod pausing;
mod postgres;
mod refusals;
mod seeing;
mod startup;
mod swap;
mod takeover;
mod target;
mod tenants;
mod upgrade;
