/** What the value groups of an electricity OBIS code (IEC 62056-6-1) say about a register. */

export interface ObisMeaning {
  /** Value group C with the phase taken out: 1 is active import, 12 is voltage. */
  quantity: number;
  phase: 1 | 2 | 3 | null;
  kind: 'energy' | 'power' | 'demand' | 'value';
  tariff: number;
}

const POWERS = 10;

/** The meaning of `1-0:21.8.1`, or null where the code is not of electricity. */
export function parseObis(obis: string | null | undefined): ObisMeaning | null {
  const match = /^1-\d+:(\d+)\.(\d+)(?:\.(\d+))?/.exec(obis ?? '');
  if (!match) return null;
  const [c, d, e] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
  const phase = c > 20 && c <= 80 ? (Math.floor((c - 1) / 20) as 1 | 2 | 3) : null;
  const quantity = phase ? c - phase * 20 : c;
  const power = quantity <= POWERS || quantity === 15 || quantity === 16;
  const kind = !power ? 'value' : d === 6 || d === 16 ? 'demand' : d === 8 || d === 9 || d === 29 ? 'energy' : 'power';
  return { quantity, phase, kind, tariff: d === 7 || d === 24 || d === 25 || d === 29 ? 0 : e };
}
