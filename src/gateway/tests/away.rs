//! What back ends take from users whose clients are away, and what these come back with.

use serde_json::{Value, json};

use super::cluster::{Client, Cluster};
use crate::gateway::verbs::{
    DisconnectRequest, Membership, RoomMessage, disconnect, leave_user, room_message,
};
use crate::gateway::{GatewaySettings, Payload, request};

fn cluster() -> Cluster {
    let settings = GatewaySettings { rooms_open: true, ..GatewaySettings::default() };
    Cluster::that_recovers(2, settings)
}

/// A user who has joined room `r`, with the private id of the session.
fn user(cluster: &mut Cluster, core: usize, name: &str) -> (Client, String) {
    let client = cluster.open(core, "");
    cluster.say(client, &format!("40{}", json!({ "userId": name })));
    let pid = pid_in(&cluster.packets(client)).expect("it may come back");
    cluster.say(client, &format!("421{}", json!(["room:join", { "roomId": "r" }])));
    assert!(cluster.packets(client)[0].contains("\"success\":true"));
    (client, pid)
}

/// The private id that an answer to CONNECT tells.
fn pid_in(packets: &[String]) -> Option<String> {
    let told = packets.iter().find_map(|packet| packet.strip_prefix("40"))?;
    let told: Value = serde_json::from_str(told).expect("JSON");
    told["pid"].as_str().map(String::from)
}

/// Comes back with a private id; what it is told, and whether the session goes on.
fn come_back(cluster: &mut Cluster, core: usize, name: &str, pid: &str) -> (Vec<String>, bool) {
    let client = cluster.open(core, "");
    cluster.say(client, &format!("40{}", json!({ "userId": name, "pid": pid })));
    let packets = cluster.packets(client);
    let goes_on = pid_in(&packets).as_deref() == Some(pid);
    (packets, goes_on)
}

fn say_in_r(cluster: &mut Cluster) {
    let body = json!({ "roomId": "r", "event": "chat", "data": 1 });
    let body: RoomMessage = request(Payload::SendToRoom, &body).expect("it has its shape");
    cluster.call(0, |io, done| room_message(io, body, done)).expect("sent");
}

fn members_of_r(cluster: &Cluster) -> usize {
    (0..2).map(|core| cluster.io(core).room_size_here("/", "r")).sum()
}

#[test]
fn a_user_taken_out_of_a_room_while_away_is_not_in_it_when_it_comes_back() {
    for core in [0, 1] {
        let mut cluster = cluster();
        let (alice, her_pid) = user(&mut cluster, 0, "alice");
        let (bob, his_pid) = user(&mut cluster, 0, "bob");
        cluster.vanish(alice);
        cluster.vanish(bob);
        say_in_r(&mut cluster);
        let body = json!({ "userId": "alice", "roomId": "r" });
        let body: Membership = request(Payload::Membership, &body).expect("it has its shape");
        let left = cluster.call(1, |io, done| leave_user(io, &body, done)).expect("left");
        assert_eq!(left.sockets, 0, "she is in no answer");
        say_in_r(&mut cluster);
        let (told, goes_on) = come_back(&mut cluster, core, "alice", &her_pid);
        assert!(goes_on && told.iter().all(|packet| !packet.contains("chat")), "{told:?}");
        assert_eq!(members_of_r(&cluster), 0);
        let (told, goes_on) = come_back(&mut cluster, core, "bob", &his_pid);
        let chats = told.iter().filter(|packet| packet.contains("chat")).count();
        assert!(goes_on && chats == 2, "nothing was taken from him: {told:?}");
        assert_eq!(members_of_r(&cluster), 1);
        cluster.check();
    }
}

#[test]
fn a_user_sent_away_for_good_while_away_begins_anew() {
    for (mode, comes_back) in [("terminal", false), ("reconnect", true)] {
        let mut cluster = cluster();
        let (alice, her_pid) = user(&mut cluster, 0, "alice");
        let (bob, his_pid) = user(&mut cluster, 1, "bob");
        cluster.vanish(alice);
        cluster.vanish(bob);
        let body = json!({ "to": { "users": ["alice"] }, "mode": mode });
        let body: DisconnectRequest =
            request(Payload::Disconnect, &body).expect("it has its shape");
        let dismissal = body.dismissal().expect("somebody is meant");
        let told = cluster.call(1, |io, done| disconnect(io, &dismissal, done)).expect("told");
        assert_eq!(told, (0, false), "{mode}");
        let (_, goes_on) = come_back(&mut cluster, 1, "alice", &her_pid);
        assert_eq!(goes_on, comes_back, "{mode}");
        let (_, goes_on) = come_back(&mut cluster, 1, "bob", &his_pid);
        assert!(goes_on, "{mode}: nothing was taken from him");
        cluster.check();
    }
}
