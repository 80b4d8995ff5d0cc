/** What a chart draws: stretches of time with a value, its extremes and its quality. */
import type { Quality, Slot } from '../api/types';

export type Tone = 'import' | 'export' | 'reactive' | 'demand' | 'fault' | 'neutral' | 'l1' | 'l2' | 'l3';

export interface Stretch {
  from: number;
  to: number;
  value: number | null;
  min: number | null;
  max: number | null;
  quality: Quality;
  source: string | null;
  /** Where the value stands on, when series are stacked. */
  foot: number;
}
export interface Series {
  id: string;
  name: string;
  unit: string;
  tone: Tone;
  /** 0 is the tone itself, towards 1 it fades: shades of one hue. */
  shade?: number;
  form: 'bars' | 'steps' | 'line';
  stretches: Stretch[];
}

type Factor = (slot: { from: number; to: number }) => number;

/**
 * Slots as stretches; `factor` turns an energy into a mean power or puts export below the axis.
 * Extremes are of single slots, so where values are sums they have a factor of their own.
 */
export function stretches(slots: Slot[], factor: Factor, extremes: Factor = factor): Stretch[] {
  return slots.map((slot) => {
    const [from, to] = [Date.parse(slot.start), Date.parse(slot.end)];
    const [by, byEnds] = [factor({ from, to }), extremes({ from, to })];
    const [low, high] = by < 0 ? [slot.max, slot.min] : [slot.min, slot.max];
    const times = (value: number | null, k: number): number | null => (value == null ? null : value * k);
    return {
      from,
      to,
      value: slot.quality === 'missing' ? null : times(slot.value, by),
      min: times(low, byEnds),
      max: times(high, byEnds),
      quality: slot.quality,
      source: slot.source,
      foot: 0,
    };
  });
}

/** The future is not missing: it is not drawn, and the stretch that still runs is what came so far. */
export function settled(list: Stretch[], now_ms: number): Stretch[] {
  return list
    .filter((one) => one.to <= now_ms || one.value != null)
    .map((one) => (one.to <= now_ms ? one : { ...one, quality: 'valid', source: 'so-far' }));
}

/** The stretch that holds an instant. */
export function stretchAt(list: readonly Stretch[], at_ms: number): Stretch | null {
  let [low, high] = [0, list.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const stretch = list[middle];
    if (!stretch) return null;
    if (at_ms < stretch.from) high = middle - 1;
    else if (at_ms >= stretch.to) low = middle + 1;
    else return stretch;
  }
  return null;
}

/** What a channel's OBIS code means for its colour: C says the direction, D whether it is a demand. */
export function toneOf(obis: string | null | undefined, unit = ''): Tone {
  const match = /^(\d+)-(\d+):(\d+)\.(\d+)/.exec(obis ?? '');
  if (!match) return unit.startsWith('var') ? 'reactive' : 'neutral';
  if (match[1] !== '1') return 'neutral';
  const [c, d] = [Number(match[3]), Number(match[4])];
  if ([2, 4, 5, 6, 14, 15, 16].includes(d) && c < 20) return 'demand';
  if (c === 31 || c === 32) return 'l1';
  if (c === 51 || c === 52) return 'l2';
  if (c === 71 || c === 72) return 'l3';
  const kind = c % 20;
  if (kind === 1) return 'import';
  if (kind === 2) return 'export';
  return kind >= 3 && kind <= 8 ? 'reactive' : 'neutral';
}

/** Lowest and highest of everything drawn; with `zero` the axis starts there. */
export function extent(series: readonly Series[], zero: boolean): { low: number; high: number } {
  let [low, high] = zero ? [0, 0] : [Infinity, -Infinity];
  for (const one of series)
    for (const s of one.stretches) {
      if (s.value == null) continue;
      const ends = [s.value, s.min ?? s.value, s.max ?? s.value];
      for (const end of zero ? [...ends, 0] : ends) {
        low = Math.min(low, s.foot + end);
        high = Math.max(high, s.foot + end);
      }
    }
  return low <= high ? { low, high } : { low: 0, high: 0 };
}
