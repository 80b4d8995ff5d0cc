/** What the value groups of an electricity OBIS code (IEC 62056-6-1) say about a register. */

export interface ObisMeaning {
  /** Value group C with the phase taken out: 1 is active import, 12 is voltage. */
  quantity: number;
  phase: 1 | 2 | 3 | null;
  kind: 'energy' | 'power' | 'demand' | 'value';
  tariff: number;
  /** The smallest or largest value of the period, where it is not the mean or the register. */
  extreme: 'minimum' | 'maximum' | null;
}

const POWERS = 10;
/** Numbers of our own for what value group E says of a quantity. */
const THD = { 11: 111, 12: 112 } as Record<number, number | undefined>;
const THD_E = 124;
const UNBALANCE = 128;
export const LOSSES = 83;

/** The meaning of `1-0:21.8.1`, or null where the code is not of electricity. */
export function parseObis(obis: string | null | undefined): ObisMeaning | null {
  const match = /^1-\d+:(\d+)\.(\d+)(?:\.(\d+))?/.exec(obis ?? '');
  if (!match) return null;
  const [c, d, e] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
  const phase = c > 20 && c <= 80 ? (Math.floor((c - 1) / 20) as 1 | 2 | 3) : null;
  const plain = phase ? c - phase * 20 : c;
  const quantity = (e === THD_E ? THD[plain] : undefined) ?? plain;
  const power = quantity <= POWERS || quantity === 15 || quantity === 16;
  const kind = !power ? 'value' : d === 6 || d === 16 ? 'demand' : d === 8 || d === 9 || d === 29 ? 'energy' : 'power';
  const extreme = d === 3 ? 'minimum' : d === 26 ? 'maximum' : null;
  const rated = (kind === 'energy' && d !== 29) || kind === 'demand' || d === 2;
  const tariff = rated && quantity !== UNBALANCE && quantity !== LOSSES ? e : 0;
  return { quantity, phase, kind, tariff, extreme };
}
