/** What a test and its client process say to each other. The client process does the asking; see client-process.ts. */
import type { Accepted, WriterReport } from './ledger.ts';

export interface Server {
  readonly name: string;
  /** A name or address, or the directory of a unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

export interface HttpAnswer {
  /** null: no answer (refused, reset, or not within the time limit). */
  readonly status: number | null;
  readonly body: string;
  readonly error: string | null;
  readonly ms: number;
}

/** One health check, and when it was asked and answered. */
export interface Poll {
  readonly name: string;
  readonly status: number | null;
  readonly sent: number;
  readonly answered: number;
}

/** What somebody who only reads has seen. */
export interface ReaderReport {
  readonly answers: number;
  /** Each row once. */
  readonly rows: readonly string[];
}

export interface LoadReport {
  readonly answered: number;
  readonly unanswered: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** How many answers had which status. */
  readonly statuses: Readonly<Record<string, number>>;
}

/** How long commits took, one after the other on each session. */
export interface CommitReport {
  readonly commits: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Orders {
  'writer-start': {
    readonly order: {
      readonly servers: readonly Server[];
      readonly sessions: number;
      readonly everyMs: number;
      readonly payloadBytes: number;
    };
    readonly answer: null;
  };
  /** Commits of one row each, as fast as they are acknowledged. */
  commits: {
    readonly order: { readonly server: Server; readonly sessions: number; readonly seconds: number };
    readonly answer: CommitReport;
  };
  'writer-acked': { readonly order: null; readonly answer: number };
  'writer-report': { readonly order: null; readonly answer: WriterReport };
  'writer-stop': { readonly order: null; readonly answer: WriterReport };
  /** Reads the newest rows on one server again and again; `newest` is a query for them. */
  'reader-start': {
    readonly order: { readonly server: Server; readonly everyMs: number; readonly newest: string };
    readonly answer: null;
  };
  'reader-stop': { readonly order: null; readonly answer: ReaderReport };
  'watcher-start': {
    readonly order: { readonly servers: readonly Server[]; readonly everyMs: number };
    readonly answer: null;
  };
  'watcher-report': { readonly order: null; readonly answer: readonly Accepted[] };
  'polls-start': {
    readonly order: {
      readonly urls: readonly { readonly name: string; readonly url: string }[];
      readonly everyMs: number;
    };
    readonly answer: null;
  };
  'polls-stop': { readonly order: null; readonly answer: readonly Poll[] };
  http: {
    readonly order: {
      readonly method: string;
      readonly url: string;
      readonly body: string | null;
      readonly headers: Readonly<Record<string, string>>;
      readonly timeoutMs: number;
    };
    readonly answer: HttpAnswer;
  };
  /** Health checks at a fixed rate, each on a connection of its own as a load balancer makes them. */
  load: {
    readonly order: { readonly url: string; readonly perSecond: number; readonly seconds: number };
    readonly answer: LoadReport;
  };
  sql: {
    readonly order: { readonly server: Server; readonly text: string; readonly timeoutMs: number };
    readonly answer: readonly Readonly<Record<string, unknown>>[];
  };
}

export type OrderName = keyof Orders;
