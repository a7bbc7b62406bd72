/**
 * What a check has found, and how it is said: for people with what to type, for Nagios in one line with its exit codes.
 * Pure.
 */
export type Level = 'ok' | 'warning' | 'critical' | 'unknown';

export interface Finding {
  readonly level: Level;
  /** What was looked at, in a word or two. */
  readonly about: string;
  readonly said: string;
  /** What to do about it. */
  readonly todo?: string;
}

/** A figure for those who draw curves: Nagios calls it performance data. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: 'ms' | 'B' | '';
}

export interface Judgement {
  readonly findings: readonly Finding[];
  readonly figures: readonly Figure[];
}

/** The exit codes of Nagios' plugins. */
export const NAGIOS: Readonly<Record<Level, 0 | 1 | 2 | 3>> = { ok: 0, warning: 1, critical: 2, unknown: 3 };

const BY_WEIGHT: readonly Level[] = ['critical', 'unknown', 'warning', 'ok'];

export function worst(findings: readonly Finding[]): Level {
  return BY_WEIGHT.find((level) => findings.some((finding) => finding.level === level)) ?? 'unknown';
}

/** `PGHA ETCD OK - members: 3 of 3 endpoints answer | 'read'=1.2ms` */
export function nagiosLine(name: string, { findings, figures }: Judgement): string {
  const level = worst(findings);
  const told = findings.filter((finding) => finding.level === level).map(({ about, said }) => `${about}: ${said}`);
  const data = figures.map(
    (one) => `'${one.name.replace(/['=|\s]/g, '_')}'=${Math.round(one.value * 10) / 10}${one.unit}`,
  );
  // A bar begins the figures, and there is one line.
  const text = told.join('; ').replace(/[|\n]/g, ' ');
  return `PGHA ${name.toUpperCase()} ${level.toUpperCase()} - ${text}${data.length === 0 ? '' : ` | ${data.join(' ')}`}`;
}

/** A line for each finding, the worst first, and below it what to do. */
export function findingsText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ about }) => about.length));
  const inOrder = BY_WEIGHT.flatMap((level) => findings.filter((finding) => finding.level === level));
  return inOrder
    .flatMap(({ level, about, said, todo }) => [
      `${level.padEnd(8)}  ${about.padEnd(width)}  ${said}`,
      ...(todo === undefined ? [] : [`${' '.repeat(width + 12)}-> ${todo}`]),
    ])
    .join('\n');
}
