/** The steps of `adopt`. Apart from the rest, so that pgha-ctl's help loads nothing else. */
export const STEPS = ['check', 'take-over', 'back'] as const;
export type Step = (typeof STEPS)[number];
export const ORIGINS = ['repmgr', 'streaming'] as const;
