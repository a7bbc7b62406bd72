/** Every rule that can speak, with its meaning in one sentence. The rule's name stands in each decision, log line and /status. */
export const RULES = {
  'service.leaving-hands-over':
    'the service stops and this node leads: Postgres goes down in order and the key to the best candidate',
  'service.leaving-sync-set':
    'the service stops and this standby is synchronous: commits shall not wait for it any more before it goes',
  'service.leaving-stops': 'the service stops: Postgres is stopped in order',
  'service.left': 'the service has stopped what it had to; nothing is left to do',
  'node.unusable': 'the data directory is not ours to touch: it is left alone',
  'node.name-taken':
    "another machine runs under this node's name: what is its own cannot be told from what is ours, so this one takes no part",
  'node.busy': 'something long is under way; the next decision waits for its end',
  'node.waiting-for-etcd': 'etcd has not answered since the start: nothing is known about the cluster',
  'fence.without-window': 'Postgres may accept writes and no proven window is open: it stops now',
  'fence.orphans': 'the postmaster is gone and its children are not: they are ended before anything else',
  'blind.standby': 'etcd does not answer: a standby goes on, and takes part in no election',
  'witness.watching': 'no Postgres runs here: this node says whom it sees, and never leads',
  'shadow.watching':
    'adopt_from: somebody else runs this cluster until it is handed over; pgha watches, says what it would do, and changes nothing',
  'shadow.would-start':
    'adopt_from: Postgres is down here; pgha would start it, and does not before the cluster is handed over',
  'shadow.would-fail-over':
    'adopt_from: no primary is to be seen; pgha says who would lead now, and does nothing before the cluster is handed over',
  'shadow.foreign':
    'adopt_from: the data here cannot become what this scope is, or two primaries run: nothing is touched until an operator has put that right',
  'maintenance.hands-off': 'the cluster is paused: nothing is started, stopped or promoted',
  'maintenance.makes-way':
    'an operator has promoted another member by hand, and Postgres here does not accept writes: the key goes to that one',
  'maintenance.primary-alive':
    'an operator asks for a failover, or who led last in maintenance comes back, and another Postgres may be a primary: nobody would stop it, so it has to be stopped first',
  'leading.primary': 'this node leads and its Postgres accepts writes',
  'leading.by-confirmation':
    'etcd does not prove this leadership, and every member of the failsafe list confirms it: Postgres goes on',
  'leading.waiting-for-window': 'the key is ours; the gate or the proof is not there yet, so nothing is promoted',
  'leading.no-window':
    'the key is ours and no window opens under it, because the guard does not acknowledge or no proof holds: it goes to somebody else',
  'leading.promote': 'the key is ours, the gate has passed, the window is open and guarded: promote',
  'leading.starting': 'our Postgres is starting as the primary',
  'leading.cannot-lead': 'the key is ours and this node has nothing to lead with: it is given up',
  'leading.promotion-failed': 'the promotion failed: once Postgres is down for certain, the key goes to somebody else',
  'leading.check-failed': 'the health check of the primary fails: it is repeated before anything is done',
  'leading.seen-by-others': 'the health check fails here, but other members still see the primary: keep it',
  'leading.give-up-silent': 'the health check failed for too long: Postgres is ended, so that it cannot write any more',
  'leading.sick':
    'this node leads and something ails it: it may pass by itself, or it is being asked who is better off',
  'leading.sick-stays':
    'this node leads, something ails it, and it goes on leading: the settings say so, or nobody is better off',
  'leading.sick-hands-over':
    'this leader is sick and a candidate is well: Postgres is stopped in order, and the key goes there',
  'leading.sick-gives-up':
    'this leader cannot write to its disk, or not stop in order, and a candidate is well: Postgres is ended, and the key goes there',
  'leading.find-end': 'Postgres is down: where its WAL ends must be known before anybody takes over',
  'leading.ask-candidates': 'Postgres is down: how far the candidates have come must be known',
  'leading.hand-over': 'a candidate has all of our WAL: the key goes to it at once',
  'leading.rescue': 'the best candidate lacks the end of our WAL: it is brought there first',
  'leading.rescue-awaited': 'it could be brought to nobody, and wal_rescue says to go on trying',
  'leading.hand-over-with-loss':
    'the tail cannot be brought over and the policy prefers a failover: the key is given up, with the loss stated',
  'leading.start-here': 'no candidate can take over without loss: Postgres is started again here',
  'leading.start-failed': 'Postgres does not start here: wait a moment before the next try',
  'standby-leader.receiving':
    'this node leads a cluster that follows another one: it receives from there, and accepts no writes',
  'standby-leader.follow': 'this node leads a standby cluster: the other cluster is followed',
  'standby-leader.waiting': 'this node leads a standby cluster, and nothing comes from the other cluster',
  'standby-leader.settings-unknown':
    'this cluster followed another one and its settings cannot be read: nothing is promoted before they are',
  'standby-leader.demote':
    'the settings make this cluster a standby cluster: its primary stops in order, and comes back as a standby',
  'standby-leader.starting': 'Postgres of the standby leader is starting or stopping',
  'standby-leader.start-anew':
    'Postgres of the standby leader waits for WAL before it takes connections, and is not told to receive from the other cluster: it would wait for ever, so it is stopped and started anew',
  'standby-leader.start': 'Postgres of the standby leader is down: it is started as a standby of the other cluster',
  'standby-leader.learn-lineage':
    "a former primary leads a standby cluster: the other cluster's history is compared with ours before it is followed",
  'standby-leader.diverged-stop': 'the standby leader has WAL that the other cluster never had: it stops to be rewound',
  'standby-leader.rewind': 'our WAL goes beyond what the other cluster has: rewind to it',
  'standby-leader.copy': 'this directory cannot be brought back by a rewind: copy the other cluster anew',
  'standby-leader.hand-on': 'another member is to lead the standby cluster: the key goes there, and nothing stops',
  'standby-leader.leaving': 'the service stops and this node leads a standby cluster: the key is given up at once',
  'switchover.check': 'a switchover is asked for: the candidates are asked first',
  'switchover.refused': 'the switchover cannot be done safely: nothing was changed',
  'switchover.prepare': 'poolers stand in front: what a stop would wait for is done before clients have to wait',
  'switchover.pause-poolers':
    'the candidate is fit: clients are held back in the poolers, so that none of them sees an error',
  'switchover.wait-for-poolers': 'the poolers wait for the transactions that are under way, within a bound',
  'switchover.stop': 'the candidate is fit: stop here in order, then hand over',
  'restart.due': 'a restart of Postgres was scheduled for now, and its conditions are met',
  'restart.dropped':
    'a scheduled restart is not done: its time has passed, its conditions are not met, or it was done already',
  'leaderless.not-up':
    'there is no leader, and Postgres here is not up as a standby that answers and knows its position',
  'leaderless.not-eligible': 'there is no leader and this node may not become it',
  'leaderless.not-listed':
    'this node does not stand in the failsafe list: the last leader may be going on without having asked it',
  'leaderless.at-the-gate':
    'there is no leader to be seen, but the last one may still be writing: wait until its hold has run out',
  'leaderless.manual': 'failover is manual: reported, not done',
  'leaderless.ask-peers': 'there is no leader: everybody is asked for his position',
  'leaderless.primary-alive': 'somebody says that it is a writable primary: no election against it',
  'leaderless.seen-by-others':
    'there is no leader key, but the last leader was seen alive just now: no election for up to another TTL',
  'leaderless.location':
    "nobody in the last leader's location can be seen: a network split is assumed, and nobody here takes over",
  'leaderless.wait-for-returning':
    'somebody whose Postgres is down or starting may hold more: before positions are compared he gets a chance to come up, and to go first or be received from when he does',
  'leaderless.stop-receiving': 'before positions are compared this standby ends its receiver: its position is final',
  'leaderless.wait-for-receivers':
    'before positions are compared the receivers of the others have to end, within a bound',
  'leaderless.not-synchronous':
    'this standby is not synchronous: it may lack commits that were acknowledged, and does not take the key',
  'leaderless.wait-for-voters':
    'commits that this node lacks may have been acknowledged: it waits until enough of those who may have them are seen not to',
  'leaderless.validate': 'this node would take the key: its failover_validation_command is asked first',
  'leaderless.vetoed': 'the failover_validation_command was against a takeover by this node: others go first',
  'leaderless.stand-back': 'another member is the better candidate: it goes first',
  'leaderless.acquire': 'this node is the best candidate: it takes the key',
  'leaderless.chosen': 'the release record names this node: it takes the key',
  'leaderless.start-standby':
    'there is no leader and Postgres is down here: it is started as a standby, so that its position counts',
  'leaderless.wait-for-data': 'there is no leader and no data here: wait for one to copy from',
  'following.streaming': 'this standby receives from its upstream: the leader, or the member that was configured',
  'following.archive': 'this standby is tagged nostream: its WAL comes from the archive alone',
  'following.upstream-away':
    "the configured upstream cannot feed this standby: it receives from that one's upstream, or from the leader",
  'following.upstream-silent':
    'the upstream sends nothing while the leader goes on: the next one up is followed, and the leader stays',
  'following.waiting-to-stream': 'this standby follows its upstream and does not receive from it yet',
  'following.leader-not-ready': 'the leader is not a running primary yet',
  'following.leader-unheard':
    'this voter may have said to a candidate that it receives nothing: it waits for a beat of the leader before it does again',
  'following.learn-lineage': 'the leader is new: its history is compared with ours before we follow it',
  'following.follow': "our history is part of the leader's: receive from it",
  'following.diverged-stop': 'this standby has WAL that the leader never had: it stops to be rewound',
  'following.starting': 'Postgres is starting as a standby',
  'following.start-anew':
    'Postgres, started as a standby, waits for WAL before it takes connections, and is told to receive from somebody who does not lead: it would wait for ever, so it is stopped and started anew',
  'rejoin.find-end': 'where our WAL ends must be known to tell whether we follow or rewind',
  'rejoin.start': "our history is part of the leader's: start as its standby, no rewind",
  'rejoin.look-at-undone': 'more would be undone here than an election may lose: look at it first',
  'rejoin.too-much':
    'what would be undone here is more than a failover loses: the leader may have begun with older data, and an operator says what becomes of it',
  'rejoin.rewind': 'our WAL goes beyond what the leader has: rewind',
  'rejoin.copy': 'this directory cannot be brought back by a rewind: copy anew',
  'rejoin.stuck': 'this node diverged, and the configuration forbids what would bring it back',
  'rejoin.back-off': 'the last try to come back, or to follow the leader, failed: wait a moment before the next',
  'joining.bootstrap':
    'the scope is empty and so is our data directory: this node tries to be the one that makes the cluster',
  'joining.ask-peers':
    'the scope is empty, and this process has known no cluster in it: the others are asked whether they have',
  'joining.wait-for-bootstrap': 'another member makes the cluster',
  'joining.claim':
    "nobody has led under this scope and there is data here: it becomes the cluster's, also where an empty member is just making one",
  'joining.standby-cannot-claim':
    'the scope is empty and our Postgres is a standby: a standby is never the first leader',
  'joining.copy': 'no data here: copied from the leader',
  'joining.foreign-data': 'the data here belongs to another cluster: left alone',
} as const;

export type RuleId = keyof typeof RULES;
