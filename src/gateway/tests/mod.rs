mod backend;
mod cluster;
mod events;
mod keeper;
mod rooms;
mod schema;
mod verbs;
