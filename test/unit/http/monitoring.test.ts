import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

/** Every metric that the program can print: a name that it never prints would be an alert that never fires. */
const printed = new Set(readFileSync('src/http/metrics.ts', 'utf8').match(/\b(?:patroni|pgha)_[a-z0-9_]+/g));
const namesIn = (expression: string): readonly string[] => expression.match(/\b(?:patroni|pgha)_[a-z0-9_]+/g) ?? [];

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string };
}

const { groups } = parse(readFileSync('config/prometheus-alerts.yml', 'utf8')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets: readonly { readonly expr: string }[];
}
const dashboard = JSON.parse(readFileSync('config/grafana-dashboard.json', 'utf8')) as {
  readonly panels: readonly Panel[];
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
};

describe('the alerts for Prometheus', () => {
  it.each(rules.map((rule) => [rule.alert, rule] as const))('%s rests on metrics that are printed', (_name, rule) => {
    for (const name of namesIn(rule.expr)) expect(printed).toContain(name);
    expect(['critical', 'warning', 'info']).toContain(rule.labels.severity);
    expect(rule.annotations.summary).toMatch(/\{\{ \$labels\.(?:scope|name|instance|standby) \}\}/);
  });

  it('have names of their own', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });
});

describe('the dashboard for Grafana', () => {
  it.each(dashboard.panels.map((panel) => [panel.title, panel] as const))(
    '%s rests on metrics that are printed',
    (_title, panel) => {
      const names = panel.targets.flatMap(({ expr }) => namesIn(expr));
      expect(names.length).toBeGreaterThan(0);
      for (const name of names) expect(printed).toContain(name);
    },
  );

  it('has panels that do not lie over each other', () => {
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });

  it('marks takeovers', () => {
    for (const { expr } of dashboard.annotations.list)
      for (const name of namesIn(expr)) expect(printed).toContain(name);
  });
});
