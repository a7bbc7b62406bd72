/**
 * What runs in the browser. It asks `/ui/data` again and again while somebody looks, and puts what it is told into the
 * page as text, never as markup: names of members and texts of events are anybody's. A login is kept in memory alone.
 * Plain text here, and therefore checked by no compiler: small on purpose, and tried in a browser (test/e2e/status-page).
 */
export const SCRIPT = String.raw`
const base = location.pathname.replace(/\/+ui(\/.*)?$/, '');
const byId = (id) => document.getElementById(id);
const el = (tag, css, ...children) => {
  const made = document.createElement(tag);
  if (css) made.className = css;
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return made;
};
const list = (value) => (Array.isArray(value) ? value : []);
const text = (value) => (value === null || value === undefined ? '' : String(value));
const seconds = (ms) => (ms < 10000 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)) + ' s';
const long = (ms) => (ms < 120000 ? seconds(ms) : ms < 7200000 ? Math.round(ms / 60000) + ' min' : Math.round(ms / 3600000) + ' h');
const size = (bytes) => {
  if (typeof bytes !== 'number') return 'unknown';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  for (; bytes >= 1024 && unit < 4; unit++) bytes /= 1024;
  return (unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)) + ' ' + units[unit];
};
const when = (iso) => {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return el('time', '', text(iso));
  const today = time.toDateString() === new Date().toDateString();
  const shown = el('time', '', today ? time.toLocaleTimeString() : time.toLocaleString());
  shown.title = time.toISOString();
  return shown;
};

// A part is made anew only when what it shows is different: a selection, and a place in a list, are kept.
const shown = {};
const put = (id, of, make) => {
  const key = JSON.stringify(of);
  if (shown[id] === key) return;
  shown[id] = key;
  byId(id).replaceChildren(...make(of));
};

const ROLES = { leader: 'good', standby_leader: 'good', sync_standby: '', quorum_standby: '', replica: '', witness: 'faint' };

function ownPage(url) {
  try {
    const to = new URL(url);
    return to.protocol === 'http:' || to.protocol === 'https:' ? to.origin + '/ui' : null;
  } catch {
    return null;
  }
}

function member(one, self) {
  const leads = one.role === 'leader' || one.role === 'standby_leader';
  const well = one.state === 'running' || one.state === 'streaming';
  const page = one.name === self ? null : ownPage(one.api_url);
  const name = el(page === null ? 'span' : 'a', 'name', text(one.name));
  if (page !== null) {
    name.href = page;
    name.rel = 'noreferrer noopener';
  }
  const facts = [];
  if (one.host) facts.push(text(one.host) + (one.port ? ':' + one.port : ''));
  if (one.timeline) facts.push('timeline ' + one.timeline);
  if (!leads && one.role !== 'witness') {
    const lag = one.receive_lag === 'unknown' && one.replay_lag === 'unknown'
      ? 'lag unknown'
      : 'lag ' + size(one.receive_lag) + ' received, ' + size(one.replay_lag) + ' replayed';
    facts.push(lag, one.replay_lsn === 'unknown' ? '' : 'at ' + text(one.replay_lsn));
  }
  for (const [tag, value] of Object.entries(one.tags ?? {})) facts.push(tag + ': ' + (typeof value === 'object' ? JSON.stringify(value) : value));
  const troubles = [];
  if (one.trouble) troubles.push(text(one.trouble));
  if (one.pending_restart) troubles.push('a restart is pending');
  if (one.scheduled_restart) troubles.push('restart at ' + text(one.scheduled_restart.schedule));
  if (one.progress) troubles.push(text(one.progress));
  return el('div', 'member' + (leads ? ' leader' : '') + (one.trouble ? ' trouble' : ''),
    name,
    el('span', 'badge ' + (ROLES[one.role] ?? ''), text(one.role).replaceAll('_', ' ')),
    el('span', 'badge ' + (well ? 'good' : 'warn'), text(one.state)),
    one.name === self ? el('span', 'faint', 'this node') : null,
    el('div', 'facts', ...facts.filter((fact) => fact !== '').map((fact) => el('span', '', fact))),
    troubles.length > 0 ? el('div', 'warn', troubles.join('; ')) : null);
}

// Who feeds whom. A standby that does not say from whom it receives, and streams, receives from the leader.
function topology(of) {
  if (of.members === null) return [el('p', 'faint', 'Nothing is known of the cluster: etcd was not read since the start of this daemon.')];
  const members = list(of.members);
  const names = new Set(members.map((one) => one.name));
  const leader = members.find((one) => one.role === 'leader' || one.role === 'standby_leader');
  const upstream = (one) => {
    if (one === leader) return null;
    if (one.receives_from && one.receives_from !== one.name && names.has(one.receives_from)) return one.receives_from;
    return leader && one.state === 'streaming' ? leader.name : null;
  };
  const seen = new Set();
  const branch = (one) => {
    seen.add(one);
    const below = members.filter((other) => !seen.has(other) && upstream(other) === one.name);
    for (const other of below) seen.add(other);
    return el('li', '', member(one, of.self), below.length > 0 ? el('ul', '', ...below.map(branch)) : null);
  };
  const roots = members.filter((one) => upstream(one) === null).sort((a, b) => (b === leader) - (a === leader)).map(branch);
  // In a ring nobody is the first.
  for (const one of members) if (!seen.has(one)) roots.push(branch(one));
  return roots.length > 0 ? [el('ul', 'tree', ...roots)] : [el('p', 'faint', 'No members.')];
}

const rows = (pairs) => pairs.filter((pair) => pair !== null).flatMap(([name, ...value]) => [el('dt', '', name), el('dd', '', ...value)]);

function windowOf(data) {
  if (!data.holding) {
    if (data.node_role === 'witness') return null;
    const gate = data.gate_ms === 'never' ? 'it never opens: the last leader left in maintenance'
      : data.gate_ms === null ? 'not known yet' : data.gate_ms === 0 ? 'open' : 'opens in ' + seconds(data.gate_ms);
    return ['Its gate', gate, el('span', 'faint', ' (before it nobody takes over; the window stands on the page of the leader)')];
  }
  if (data.window_left_ms === null) return ['Window left', data.pause ? 'no end: maintenance' : 'none'];
  const meter = el('meter');
  meter.max = data.ttl_ms;
  meter.low = data.ttl_ms * 0.3;
  meter.value = data.window_left_ms;
  return ['Window left', meter, seconds(data.window_left_ms)];
}

function node(data) {
  const { decision, operation, takeover } = data;
  return rows([
    ['Node', text(data.node) + ', ' + (data.node_role === 'witness' ? 'a witness' : text(data.role).replaceAll('_', ' ') + ', ' + text(data.state))],
    data.node_role === 'witness' ? null
      : ['Writes', data.writable ? el('span', 'good', 'accepted here') : 'not here'],
    windowOf(data),
    ['Last decision', text(decision.rule) + ': ' + text(decision.reason), el('div', 'faint', 'since ', when(decision.since))],
    operation === null ? null : ['Under way', text(operation.sentence) + (operation.fraction === null ? '' : ', ' + Math.round(operation.fraction * 100) + ' %')],
    takeover && takeover.node ? ['Last takeover', text(takeover.node) + (takeover.previous ? ' from ' + text(takeover.previous) : '') + ' (' + text(takeover.kind) + '), ', when(takeover.at)] : null,
    data.node_role === 'witness' ? null : ['Guard', text(data.guard)],
    ['pgha', text(data.version)],
  ]);
}

function plans({ sync, pause, planned, members, failsafe }) {
  const restarts = list(members).filter((one) => one.scheduled_restart);
  return rows([
    ['Maintenance', pause ? el('span', 'warn', 'on: nothing is done by itself') : 'off'],
    sync === null ? null : ['Synchronous', sync.mode === 'off' ? 'off'
      : sync.mode + ': ' + (sync.garbled ? 'the key cannot be read'
        : sync.voters.length === 0 ? 'no standby' : sync.voters.join(', ') + (sync.quorum > 0 ? ', ' + sync.quorum + ' of ' + sync.voters.length : ''))],
    ['Switchover', planned ? el('span', 'warn', 'at ', when(planned.at), planned.to ? ' to ' + planned.to : '') : 'none is scheduled'],
    ['Restarts', restarts.length === 0 ? 'none is scheduled' : restarts.map((one) => one.name + ' at ' + text(one.scheduled_restart.schedule)).join('; ')],
    ['Failsafe', failsafe ? el('span', 'warn', 'active: the members confirm the leader, not etcd') : 'not active'],
  ]);
}

const history = (lines) => lines.length === 0
  ? [el('li', 'faint', 'Timeline 1: nobody was ever promoted.')]
  : lines.map((line) => el('li', '', el('strong', '', 'Timeline ' + (line.timeline + 1)), line.newLeader ? ' by ' + line.newLeader : '', ' ',
    line.when ? when(line.when) : '', el('div', 'faint', text(line.reason) + ', at ' + text(line.lsn))));

const events = (all) => all.length === 0
  ? [el('li', 'faint', 'None is known.')]
  : all.map((one) => el('li', '', when(one.time), ' ', el('strong', one.ok ? '' : 'bad', (one.ok ? '' : '✗ ') + text(one.event)), ' ',
    el('span', '', text(one.node)), el('div', 'faint', text(one.details))));

function notices(data) {
  const all = [];
  const say = (sentence, bad) => all.push([sentence, bad === true]);
  if (data.stale) say('This daemon has not finished a cycle for ' + long(data.age_ms) + '.', true);
  if (data.cluster_age_ms === null) say('etcd was not read since the start of this daemon.', true);
  else if (data.cluster_age_ms > 2 * data.loop_wait_ms + 1000)
    say('etcd does not answer this node. The cluster is shown as it was ' + long(Math.floor(data.cluster_age_ms / 1000) * 1000) + ' ago.', true);
  if (data.cluster !== null && data.leader === null) say('There is no leader.', true);
  if (data.pause) say('Maintenance: nothing is started, stopped or promoted by itself.');
  for (const one of list(data.sick)) say('This node is sick: ' + text(one.sentence ?? one.kind), true);
  for (const one of list(data.slots)) say(text(one));
  if (data.unwatched) say(text(data.unwatched));
  for (const one of list(data.not_understood)) say('etcd, key ' + text(one.key) + ': ' + text(one.why));
  if (!data.events_of_all && data.events_age_ms !== null) say('Events of other nodes are those that were known before etcd went away.');
  return all;
}

function render(data) {
  const { cluster } = data;
  document.title = text(data.scope) + ' · ' + text(data.node) + ' · pgha';
  put('title', data.scope, (scope) => [text(scope)]);
  put('notices', notices(data), (all) => all.map(([sentence, bad]) => el('p', 'notice' + (bad ? ' bad' : ''), sentence)));
  put('topology', { members: cluster === null ? null : cluster.members, self: data.node }, topology);
  put('node', data, node);
  const planned = cluster === null ? null : cluster.scheduled_switchover;
  const members = cluster === null ? [] : list(cluster.members);
  put('plans', { sync: data.sync, pause: data.pause, planned, members, failsafe: data.failsafe }, plans);
  put('history', list(data.history), history);
  put('events', list(data.events), events);
  byId('acting').hidden = !data.login;
  if (authorization !== null)
    put('actions', { leader: data.leader, self: data.node, pause: data.pause, planned, witness: data.node_role === 'witness',
      candidates: members.filter((one) => one.name !== data.leader && one.role !== 'witness').map((one) => one.name) }, actions);
}

let authorization = null;

async function ask(method, path, body) {
  const said = byId('said');
  said.textContent = 'Asked; waiting for the answer …';
  try {
    const answer = await fetch(base + path, {
      method, headers: { authorization }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    const sentence = await answer.text();
    said.textContent = path === '/config' && answer.ok ? 'Stored.' : sentence.replace(/<[^>]*>/g, ' ').trim().slice(0, 500) || String(answer.status);
    return answer.ok;
  } catch {
    said.textContent = 'No answer. What became of it is not known: look above.';
    return false;
  }
}

byId('login').addEventListener('submit', async (event) => {
  event.preventDefault();
  const bytes = new TextEncoder().encode(byId('user').value + ':' + byId('password').value);
  authorization = 'Basic ' + btoa(String.fromCharCode(...bytes));
  byId('password').value = '';
  loggedIn((await ask('POST', '/ui/login', undefined)) ? authorization : null);
  poll();
});

function loggedIn(as) {
  authorization = as;
  byId('login').hidden = as !== null;
  byId('actions').hidden = as === null;
}

function actions({ leader, self, pause, planned, witness, candidates }) {
  const button = (label, question, method, path, body) => {
    const made = el('button', '', label);
    made.addEventListener('click', async () => {
      if (!confirm(typeof question === 'function' ? question() : question)) return;
      made.disabled = true;
      await ask(method, path, body === undefined ? undefined : body());
      made.disabled = false;
      poll();
    });
    return made;
  };
  const to = el('select', '', ...candidates.map((name) => el('option', '', name)));
  to.ariaLabel = 'New leader';
  const leave = el('button', '', 'Log out');
  leave.addEventListener('click', () => {
    loggedIn(null);
    byId('said').textContent = '';
  });
  return [
    leader !== null && candidates.length > 0 ? to : null,
    leader !== null && candidates.length > 0
      ? button('Switch over', () => 'Make ' + to.value + ' the leader instead of ' + leader + '?', 'POST', '/switchover', () => ({ leader, candidate: to.value })) : null,
    planned ? button('Withdraw the switchover', 'Withdraw the scheduled switchover?', 'DELETE', '/switchover') : null,
    witness ? null : button('Restart Postgres on ' + self, 'Restart Postgres on ' + self + ' (this node) now?', 'POST', '/restart', () => ({})),
    pause ? button('End maintenance', 'End maintenance for the whole cluster?', 'PATCH', '/config', () => ({ pause: null }))
      : button('Begin maintenance', 'Begin maintenance for the whole cluster? Nothing is done by itself then.', 'PATCH', '/config', () => ({ pause: true })),
    leave,
  ].filter((one) => one !== null);
}

let answeredAt = null;
let every = 2000;
let timer = null;
let asking = false;

async function poll() {
  clearTimeout(timer);
  if (asking) return;
  asking = true;
  const asked = byId('asked');
  try {
    const answer = await fetch(base + '/ui/data', { signal: AbortSignal.timeout(5000), cache: 'no-store' });
    if (!answer.ok) throw new Error(answer.status === 503 ? 'no daemon runs there' : 'code ' + answer.status);
    const data = await answer.json();
    answeredAt = new Date();
    every = Math.min(5000, Math.max(1000, data.loop_wait_ms));
    render(data);
    asked.textContent = 'seen by ' + text(data.node) + ', ' + answeredAt.toLocaleTimeString();
    document.body.classList.remove('old');
  } catch (error) {
    asked.textContent = 'No answer from this node (' + error.message + '). ' +
      (answeredAt === null ? 'Nothing was shown yet.' : 'What stands below is from ' + answeredAt.toLocaleTimeString() + '.');
    document.body.classList.add('old');
  } finally {
    asking = false;
    // Nobody looks: nothing is asked.
    if (!document.hidden) timer = setTimeout(poll, every);
  }
}
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) poll();
});
poll();
`;
