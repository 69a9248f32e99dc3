use std::sync::{Arc, Mutex};

use serde_json::json;

use super::cluster::{Client, Cluster};
use crate::auth::Claims;
use crate::config::{Options, Tables};
use crate::gateway::GatewaySettings;
use crate::gateway::backend::{
    AdmissionRequest, Backends, Busy, Fact, RouteFailure, RoutedEvent, Verdict, settle_admission,
};
use crate::gateway::fair::FairUse;

/// Keeps who wants in; takes no more than so many.
#[derive(Debug)]
struct Door {
    waiting: Mutex<Vec<AdmissionRequest>>,
    room: usize,
}

impl Backends for Door {
    fn route(&self, _: RoutedEvent) -> Result<(), RouteFailure> {
        Err(RouteFailure::Unroutable)
    }

    fn admit(&self, request: AdmissionRequest) -> Result<(), Busy> {
        let mut waiting = self.waiting.lock().expect("one thread");
        if waiting.len() >= self.room {
            return Err(Busy);
        }
        waiting.push(request);
        Ok(())
    }

    fn tell(&self, _: Fact) {}
}

fn cluster() -> (Cluster, Arc<Door>) {
    let door = Arc::new(Door { waiting: Mutex::default(), room: 2 });
    let settings = GatewaySettings {
        namespaces: vec!["/".into(), "/free".into()],
        judged: vec!["/".into()],
        rooms_open: true,
        backends: Some(Arc::clone(&door) as Arc<dyn Backends>),
        ..GatewaySettings::default()
    };
    (Cluster::new(2, settings), door)
}

fn knock(cluster: &mut Cluster, core: usize) -> Client {
    let client = cluster.open(core, "&userId=query");
    cluster.say(client, r#"40{"userId":"mallory","n":1}"#);
    client
}

fn asked(door: &Door) -> AdmissionRequest {
    door.waiting.lock().expect("one thread").remove(0)
}

fn refusal(message: &str, code: &str, retryable: bool) -> String {
    let data = json!({ "code": code, "retryable": retryable });
    format!("44{}", json!({ "message": message, "data": data }))
}

/// JSON whatever the order of its members.
fn same(packet: &str, expected: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(&text[2..]).expect("JSON");
    packet[..2] == expected[..2] && read(packet) == read(expected)
}

#[test]
fn who_is_let_in_is_whom_the_back_end_says() {
    let (mut cluster, door) = cluster();
    let client = knock(&mut cluster, 0);
    assert!(cluster.packets(client).is_empty(), "it waits");
    let request = asked(&door);
    assert_eq!((&*request.namespace, &*request.auth), ("/", r#"{"userId":"mallory","n":1}"#));
    assert_eq!(request.handshake.query().get("userId"), Some("query"));
    let rooms = vec!["team".into(), "other".into()];
    let claims =
        Claims { user: "ada".into(), session: Some("s1".into()), rooms, ..Claims::default() };
    settle_admission(&cluster.io(0), request.ticket, Verdict::Admit(Box::new(claims)));
    cluster.settle();
    assert!(cluster.packets(client)[0].starts_with(r#"40{"sid":"#));
    let twice = Verdict::Refuse { message: "m".into(), code: "C".into(), retryable: false };
    settle_admission(&cluster.io(0), request.ticket, twice);
    cluster.settle();
    assert!(cluster.packets(client).is_empty(), "a verdict counts once");
    // The keepers have counted the rooms it came in with.
    let counted = |cluster: &mut Cluster| {
        let left = cluster.ask(client, "room:leave", &json!({"roomId": "team"}));
        let joined = cluster.ask(client, "room:join", &json!({"roomId": "team"}));
        (left["userCount"].clone(), joined["userCount"].clone())
    };
    assert_eq!(counted(&mut cluster), (json!(0), json!(1)));
    let status = json!({"sessionId": "s1", "status": "completed"});
    assert_eq!(
        cluster.ask(client, "status_update", &status)["success"],
        true,
        "the session is its own"
    );
    cluster.check();
}

#[test]
fn others_are_refused_with_words_that_a_program_understands() {
    let (mut cluster, door) = cluster();
    let verdict = Verdict::Refuse { message: "go".into(), code: "BANNED".into(), retryable: false };
    let client = knock(&mut cluster, 1);
    settle_admission(&cluster.io(1), asked(&door).ticket, verdict);
    cluster.settle();
    let packets = cluster.packets(client);
    assert!(same(&packets[0], &refusal("go", "BANNED", false)), "{packets:?}");
    let client = knock(&mut cluster, 0);
    settle_admission(&cluster.io(0), asked(&door).ticket, Verdict::Abstain);
    cluster.settle();
    assert!(cluster.packets(client)[0].starts_with("40{"), "as whoever it says it is");
    let nobody = cluster.open(0, "");
    cluster.say(nobody, "40");
    settle_admission(&cluster.io(0), asked(&door).ticket, Verdict::Abstain);
    cluster.settle();
    assert!(cluster.packets(nobody)[0].contains("AUTH_REQUIRED"), "but not as nobody");
    cluster.check();
}

#[test]
fn whose_back_end_says_nothing_is_told_so_in_time() {
    let (mut cluster, door) = cluster();
    let client = knock(&mut cluster, 0);
    let request = asked(&door);
    cluster.pass(1_999);
    crate::gateway::sweep(&cluster.io(0));
    cluster.settle();
    assert!(cluster.packets(client).is_empty(), "its hook's time and the grace");
    cluster.pass(1);
    crate::gateway::sweep(&cluster.io(0));
    cluster.settle();
    let packets = cluster.packets(client);
    let late = refusal("the back end did not answer in time", "HOOK_UNAVAILABLE", true);
    assert!(same(&packets[0], &late), "{packets:?}");
    let claims = Claims { user: "ada".into(), ..Claims::default() };
    settle_admission(&cluster.io(0), request.ticket, Verdict::Admit(Box::new(claims)));
    cluster.settle();
    assert!(cluster.packets(client).is_empty(), "what comes after that is for nobody");
}

/// Whoever is counted and does not come in after all is counted no longer.
#[test]
fn who_fails_at_the_door_takes_no_seat() {
    let options = Options { user_sockets_max: 1, ..Options::default() };
    let fair = FairUse::new(&options, &Tables::default(), 7).map(Arc::new);
    let fair = fair.expect("something is limited");
    let door = Arc::new(Door { waiting: Mutex::default(), room: 2 });
    let settings = GatewaySettings {
        judged: vec!["/".into()],
        backends: Some(Arc::clone(&door) as Arc<dyn Backends>),
        fair: Some(Arc::clone(&fair)),
        ..GatewaySettings::default()
    };
    let mut cluster = Cluster::new(2, settings);
    let verdict = |cluster: &mut Cluster, rooms: usize, stays: bool| {
        let client = knock(cluster, 0);
        if !stays {
            cluster.vanish(client);
        }
        let rooms = (0..rooms).map(|at| format!("r{at}")).collect();
        let claims = Claims { user: "ada".into(), rooms, ..Claims::default() };
        let ticket = asked(&door).ticket;
        settle_admission(&cluster.io(0), ticket, Verdict::Admit(Box::new(claims)));
        cluster.settle();
        (client, cluster.packets(client))
    };
    let (_, refused) = verdict(&mut cluster, 9, true);
    assert!(refused[0].contains("LIMIT_REACHED"), "a socket is in six rooms at most: {refused:?}");
    assert_eq!(fair.seats(), 0);
    verdict(&mut cluster, 0, false);
    assert_eq!(fair.seats(), 0, "who left before the verdict");
    let (first, let_in) = verdict(&mut cluster, 0, true);
    assert!(let_in[0].starts_with("40{"), "{let_in:?}");
    assert_eq!(fair.seats(), 1);
    let (_, refused) = verdict(&mut cluster, 0, true);
    assert!(refused[0].contains("TOO_MANY_CONNECTIONS"), "{refused:?}");
    cluster.vanish(first);
    assert_eq!(fair.seats(), 0);
    cluster.check();
}

#[test]
fn the_door_is_not_held_up_by_those_who_wait() {
    let (mut cluster, door) = cluster();
    let first = knock(&mut cluster, 0);
    knock(&mut cluster, 0);
    let third = knock(&mut cluster, 0);
    let packets = cluster.packets(third);
    let busy = refusal("too many wait to be let in", "HOOK_UNAVAILABLE", true);
    assert!(same(&packets[0], &busy), "{packets:?}");
    let free = cluster.open(0, "");
    cluster.say(free, r#"40/free,{"userId":"a"}"#);
    assert!(cluster.packets(free)[0].starts_with("40/free,{"), "nobody is asked there");
    cluster.vanish(first);
    let gone = asked(&door);
    let claims = Claims { user: "ada".into(), ..Claims::default() };
    settle_admission(&cluster.io(0), gone.ticket, Verdict::Admit(Box::new(claims)));
    cluster.settle();
    let bob = free_user(&mut cluster, &door);
    let told = cluster.ask(bob, "room:join", &json!({"roomId": "r"}));
    assert_eq!(told["userCount"], 1, "whoever left before the verdict is nowhere");
    cluster.check();
}

/// Whoever waits next comes in.
fn free_user(cluster: &mut Cluster, door: &Door) -> Client {
    asked(door);
    let client = knock(cluster, 1);
    let claims = Claims { user: "bob".into(), ..Claims::default() };
    settle_admission(&cluster.io(1), asked(door).ticket, Verdict::Admit(Box::new(claims)));
    cluster.settle();
    cluster.packets(client);
    client
}
