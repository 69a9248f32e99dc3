//! Fair use: how often clients may do things, and what the operator's own events must be like.
//!
//! Who does too much is refused with a name first; who goes on regardless is disconnected.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::error::VerbError;
use super::identity::Identity;
use super::schema::{self, Member, Want};
use crate::api::{Event, Socket};
use crate::base::{AddressName, Bucket, Counted, Full, Micros, Rate, SharedBuckets, SharedCounts};
use crate::config::{EventRule, MemberKind, Options, Tables};

/// The limits in force; one value a process, shared by all cores.
pub struct FairUse {
    socket: Option<Rate>,
    user: Option<SharedBuckets>,
    address: Option<SharedBuckets>,
    connects: Option<SharedBuckets>,
    sockets: Option<SharedCounts>,
    /// Refusals that are borne.
    refusals: Option<Rate>,
    rules: Vec<Ruled>,
}

/// A row of `[[events]]`, its members in the form that all payloads are judged by.
struct Ruled {
    rule: EventRule,
    rate: Option<Rate>,
    members: &'static [Member],
}

/// What one socket has used up. Made when it sends its first event, if anything is limited.
#[derive(Debug, Default)]
pub(super) struct Used {
    events: Cell<Bucket>,
    refusals: Cell<Bucket>,
    /// One a row of `[[events]]`.
    rules: Box<[Cell<Bucket>]>,
}

/// A socket's place among those of its user. It is given back when this goes, so that whoever is
/// counted and does not come in after all is counted no longer.
pub(super) struct Seat {
    fair: Arc<FairUse>,
    counted: Option<Counted>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let (Some(sockets), Some(counted)) = (&self.fair.sockets, self.counted.take()) {
            sockets.remove(counted);
        }
    }
}

/// Names that shared tables have room for.
const NAMES_MAX: usize = 1 << 18;

/// The rate that two options ask for, if any. A burst of 0 is two seconds' worth.
fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    let burst = if burst == 0 { per_second.saturating_mul(2) } else { burst };
    (per_second > 0).then(|| Rate::new(per_second, burst))
}

/// Buckets by name for such a rate.
#[must_use]
pub fn shared(per_second: u32, burst: u32, seed: u64) -> Option<SharedBuckets> {
    rate(per_second, burst).map(|rate| SharedBuckets::new(rate, NAMES_MAX, seed))
}

/// Counts by name up to `max`, if there is a limit.
#[must_use]
pub fn counts(max: u32, seed: u64) -> Option<SharedCounts> {
    (max > 0).then(|| SharedCounts::new(max, NAMES_MAX, seed))
}

impl FairUse {
    /// The limits that a configuration asks for; `None` if there are none. `seed` hides where the
    /// names of clients are kept.
    #[must_use]
    pub fn new(options: &Options, tables: &Tables, seed: u64) -> Option<Self> {
        let per_min = options.abuse_refusals_per_min;
        let fair = Self {
            socket: rate(options.socket_events_per_s, options.socket_events_burst),
            user: shared(options.user_events_per_s, options.user_events_burst, seed),
            address: shared(options.address_events_per_s, options.address_events_burst, seed),
            connects: shared(options.user_connects_per_s, options.user_connects_burst, seed),
            sockets: counts(options.user_sockets_max, seed),
            refusals: (per_min > 0).then(|| Rate::new(per_min.div_ceil(60), per_min)),
            rules: tables.events.iter().map(Ruled::new).collect(),
        };
        let events = fair.socket.is_some() || fair.user.is_some() || fair.address.is_some();
        let connects = fair.connects.is_some() || fair.sockets.is_some();
        (events || connects || !fair.rules.is_empty()).then_some(fair)
    }

    /// Whether one more socket of a user may come in; its seat, if those are counted.
    pub(super) fn admit(
        self: &Arc<Self>,
        user: &str,
        now: Micros,
    ) -> Result<Option<Seat>, VerbError> {
        let counted = match &self.sockets {
            Some(sockets) => sockets.add(user.as_bytes()),
            None => Ok(None),
        };
        let counted = counted.map_err(|Full| VerbError::TooManyConnections)?;
        let seat = counted.map(|counted| Seat { fair: Arc::clone(self), counted: Some(counted) });
        take(self.connects.as_ref(), user.as_bytes(), now)?;
        Ok(seat)
    }

    /// An event was refused as one of too many, by whoever handles it.
    pub(super) fn refused(&self, socket: &Socket, who: &Identity) {
        socket.io().count(|counters| counters.events_limited += 1);
        self.bear(socket, self.used(who));
    }

    fn used<'a>(&self, who: &'a Identity) -> &'a Used {
        who.used(|| Used {
            rules: self.rules.iter().map(|_| Cell::default()).collect(),
            ..Used::default()
        })
    }

    /// Whether an event may be handled.
    pub(super) fn check(
        &self,
        namespace: &str,
        event: &Event<'_>,
        who: &Identity,
    ) -> Result<(), VerbError> {
        let used = self.used(who);
        let verdict = self.judge(namespace, event, who, used);
        if matches!(verdict, Err(VerbError::RateLimited(_) | VerbError::PayloadTooLarge(_))) {
            event.socket().io().count(|counters| counters.events_limited += 1);
            self.bear(event.socket(), used);
        }
        verdict
    }

    /// How many sockets are counted, of all users together.
    #[cfg(test)]
    pub(super) fn seats(&self) -> u64 {
        self.sockets.as_ref().map_or(0, SharedCounts::sum)
    }

    fn judge(
        &self,
        namespace: &str,
        event: &Event<'_>,
        who: &Identity,
        used: &Used,
    ) -> Result<(), VerbError> {
        let now = event.socket().io().held_us();
        draw(self.socket, &used.events, now)?;
        let about = self.rules.iter().zip(&used.rules);
        let about = about.into_iter().find(|(of, _)| of.rule.is_about(namespace, event.name()));
        if let Some((of, bucket)) = about {
            draw(of.rate, bucket, now)?;
        }
        take(self.user.as_ref(), who.user.as_bytes(), now)?;
        if let (Some(_), Some(handshake)) = (&self.address, event.socket().handshake()) {
            take(self.address.as_ref(), &AddressName::of(handshake.peer.ip()), now)?;
        }
        about.map_or(Ok(()), |(of, _)| of.judge(event))
    }

    /// Counts a refusal; a socket with too many goes.
    fn bear(&self, socket: &Socket, used: &Used) {
        if draw(self.refusals, &used.refusals, socket.io().held_us()).is_err() {
            socket.io().count(|counters| counters.abusers_expelled += 1);
            socket.expel();
        }
    }
}

impl fmt::Debug for FairUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FairUse").finish_non_exhaustive()
    }
}

fn draw(rate: Option<Rate>, bucket: &Cell<Bucket>, now: Micros) -> Result<(), VerbError> {
    let Some(rate) = rate else { return Ok(()) };
    let mut drawn = bucket.get();
    let verdict = drawn.take(rate, now);
    bucket.set(drawn);
    verdict.map_err(|wait_us| VerbError::RateLimited(wait_us.div_ceil(1_000)))
}

fn take(buckets: Option<&SharedBuckets>, name: &[u8], now: Micros) -> Result<(), VerbError> {
    let verdict = buckets.map_or(Ok(()), |buckets| buckets.take(name, now));
    verdict.map_err(|wait_us| VerbError::RateLimited(wait_us.div_ceil(1_000)))
}

impl Ruled {
    fn new(rule: &EventRule) -> Self {
        // They live as long as the process, as the gateway's own table does.
        let keep = |text: &str| -> &'static str { Box::leak(text.into()) };
        let members = rule.members.iter().map(|member| Member {
            name: keep(&member.name),
            want: match &member.kind {
                MemberKind::Any => Want::Any,
                MemberKind::Flag => Want::Flag,
                MemberKind::Name => Want::Name,
                MemberKind::Text(bytes_max) => Want::Text(*bytes_max),
                MemberKind::Number(min, max) => Want::Number(*min, *max),
                MemberKind::Word(words) => {
                    Want::Word(Box::leak(words.iter().map(|word| keep(word)).collect()))
                }
            },
            required: member.required,
        });
        let members: Box<[Member]> = members.collect();
        Self {
            rate: rate(rule.per_second, rule.burst),
            members: Box::leak(members),
            rule: rule.clone(),
        }
    }

    fn judge(&self, event: &Event<'_>) -> Result<(), VerbError> {
        let attached: usize = event.attachments().iter().map(Vec::len).sum();
        if event.raw_args().len() + attached > self.rule.payload_bytes_max {
            return Err(VerbError::PayloadTooLarge(self.rule.payload_bytes_max));
        }
        if self.members.is_empty() && !self.rule.only {
            return Ok(());
        }
        schema::read_members(self.members, self.rule.only, event.raw_args()).map(drop)
    }
}
