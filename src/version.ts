/** pgha's own version, and the level of Patroni's interface that it speaks (others compare it as a number: plain digits). */
export const PGHA_VERSION = '0.1.0';
export const PATRONI_LEVEL = '4.1.4';
