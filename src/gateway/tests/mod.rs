mod backend;
mod cluster;
mod events;
mod fair;
mod keeper;
mod rooms;
mod schema;
mod verbs;
