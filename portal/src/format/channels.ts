/** A meter's channels as people choose them: by what they are, extremes as the band of their mean. */
import type { Channel, Profile } from '../api/types';

export type Family = 'energy' | 'power' | 'voltage' | 'current' | 'other';
export const FAMILIES: readonly Family[] = ['energy', 'power', 'voltage', 'current', 'other'];
const BY_UNIT: Record<string, Family> = {
  W: 'power',
  var: 'power',
  VA: 'power',
  V: 'voltage',
  A: 'current',
};

export function familyOf(channel: Channel): Family {
  if (channel.kind !== 'instant') return 'energy';
  return BY_UNIT[channel.unit] ?? 'other';
}

/** The smallest and largest value of the same interval, where the meter records them beside the mean. */
export function extremesOf(channel: Channel, all: readonly Channel[]): { min: Channel; max: Channel } | null {
  const min = all.find((one) => one.id === `${channel.id}_min`);
  const max = all.find((one) => one.id === `${channel.id}_max`);
  return min && max ? { min, max } : null;
}

/** The channels to choose from: without those that are another's extremes. */
export function offered(all: readonly Channel[]): Channel[] {
  return all.filter((channel) => {
    const base = /^(.*)_(min|max)$/.exec(channel.id)?.[1];
    const mean = all.find((one) => one.id === base);
    return !mean || !extremesOf(mean, all);
  });
}

export function families(all: readonly Channel[]): [Family, Channel[]][] {
  const list = offered(all);
  return FAMILIES.map((family): [Family, Channel[]] => [family, list.filter((one) => familyOf(one) === family)]).filter(
    ([, channels]) => channels.length > 0,
  );
}

/** The symbol alone, for where the family is written before it: "A+", "L1", "THD U L1". */
export function symbolOf(channel: Channel): string {
  return channel.name
    .replace(/, (min|max)imum$/, ' $1')
    .replace(/ (energy|power|losses)$/, '')
    .replace(/^Net$/, 'A±')
    .replace(/^Frequency/, 'f')
    .replace(/^Power factor/, 'cos φ')
    .replace(/^Voltage unbalance/, 'u2')
    .replace(/^Voltage THD/, 'THD U')
    .replace(/^Current THD/, 'THD I')
    .replace(/^Power\b/, 'P')
    .replace(/^(Voltage|Current) (?=L\d|N)/, '');
}

/** A mean with the band between what was smallest and largest inside each slot. */
export function banded(mean: Profile, min: Profile, max: Profile): Profile {
  const low = new Map(min.slots.map((slot) => [slot.start, slot.min ?? slot.value]));
  const high = new Map(max.slots.map((slot) => [slot.start, slot.max ?? slot.value]));
  return {
    ...mean,
    slots: mean.slots.map((slot) => ({ ...slot, min: low.get(slot.start) ?? null, max: high.get(slot.start) ?? null })),
  };
}
