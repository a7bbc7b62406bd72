/**
 * `GET /pgha/explain`: why this node leads, or whether it could and what stops it, for pgha-ctl and for people. The
 * judgement is core/explain.ts; this only asks for it and writes it as JSON.
 */
import type { FastifyInstance } from 'fastify';
import type { NodeExplanation, Published } from '../agent/published.ts';
import type { DecisionRecord } from '../core/decision-record.ts';
import { type Explanation, inOneSentence, type Numbers, type Verdict } from '../core/explain.ts';
import { printLsn } from '../core/lsn.ts';
import { describeSickness } from '../core/sickness.ts';
import type { Millis } from '../core/time.ts';
import { sendJson } from './answers.ts';
import type { HttpParts } from './server.ts';

export const EXPLAIN_PATH = '/pgha/explain';

/** What a member answers; programs may rest on these names. */
export interface ExplainDocument {
  readonly node: string;
  readonly scope: string;
  readonly could_lead: boolean;
  readonly verdict: Verdict;
  readonly rule: string;
  readonly reason: string;
  readonly sentence: string;
  /** The leader that was assumed to have vanished; null: things are as they are. */
  readonly without: string | null;
  readonly before: readonly { readonly rule: string; readonly reason: string }[];
  readonly current: { readonly situation: string; readonly rule: string; readonly reason: string };
  readonly leadership: Readonly<Record<string, unknown>> | null;
  readonly upstream: string | null;
  readonly numbers: Readonly<Record<string, unknown>>;
  readonly last_takeover: DecisionRecord | null;
  /** What is wrong with its replication slots, a sentence each. */
  readonly slots: readonly string[];
  /** What ails the node, a sentence each. */
  readonly sick: readonly string[];
}

export function explainRoutes(app: FastifyInstance, parts: HttpParts): void {
  let underWay: Promise<NodeExplanation> | null = null;
  app.route({
    method: 'GET',
    url: EXPLAIN_PATH,
    handler: async (_request, reply) => {
      // However many ask, the other members are asked once at a time.
      underWay ??= parts.control.explain().finally(() => {
        underWay = null;
      });
      const node = await underWay;
      return sendJson(reply, 200, explainDocument(node, parts.control.published(), parts.config().scope));
    },
  });
}

export function explainDocument(
  { explanation, lastTakeover, mine }: NodeExplanation,
  published: Published,
  scope: string,
): ExplainDocument {
  const { verdict, rule, reason, without, before, current } = explanation;
  const { local } = published;
  return {
    node: explanation.node,
    scope,
    could_lead: verdict !== 'no',
    verdict,
    rule,
    reason,
    sentence: inOneSentence(explanation, mine),
    without,
    before,
    current,
    leadership: leadershipFields(explanation, mine),
    upstream: local.kind === 'standby' ? (local.receiver?.from ?? local.follows) : null,
    numbers: numberFields(explanation.numbers),
    last_takeover: lastTakeover,
    slots: published.slots.troubles,
    sick: published.health.ailments.map(({ sickness }) => describeSickness(sickness)),
  };
}

function leadershipFields({ leadership }: Explanation, mine: DecisionRecord | null): ExplainDocument['leadership'] {
  if (leadership === null) return null;
  return {
    term: leadership.term.toString(),
    ttl_ms: leadership.ttl,
    held_for_ms: Math.round(leadership.heldFor),
    window_open: leadership.windowOpen,
    window_left_ms: whole(leadership.windowLeft),
    guard_strikes_in_ms: whole(leadership.guardStrikesIn),
    gate_ms: whole(leadership.gateLeft),
    taken_by: mine === null ? null : { kind: mine.kind, rule: mine.rule, reason: mine.reason, at: mine.at },
  };
}

function numberFields(numbers: Numbers): ExplainDocument['numbers'] {
  return {
    timeline: numbers.timeline,
    position: numbers.position === null ? null : printLsn(numbers.position),
    published_position: numbers.published === null ? null : printLsn(numbers.published),
    lag_bytes: numbers.lagBytes === null ? null : Number(numbers.lagBytes),
    maximum_lag_bytes: Number(numbers.maximumLagBytes),
    receiving: numbers.receiving,
    priority: numbers.priority,
    node_id: numbers.nodeId,
    nofailover: numbers.noFailover,
    location: numbers.location,
    last_leader_location: numbers.lastLeaderLocation,
    gate_ms: numbers.gateLeft === 'never' ? 'never' : whole(numbers.gateLeft),
    saw_primary_ms: whole(numbers.sawPrimary),
  };
}

const whole = (length: Millis | null): number | null => (length === null ? null : Math.round(length));
