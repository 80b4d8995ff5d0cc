import { describe, expect, it } from 'vitest';
import type { Channel, Profile } from '../src/api/types';
import { banded, families, offered, symbolOf } from '../src/format/channels';

const channel = (id: string, name: string, unit: string, kind = 'instant'): Channel => ({ id, name, obis: null, unit, step_s: 300, kind });
const all = [
  channel('a_import', 'A+ energy', 'Wh', 'energy'),
  channel('p', 'Power', 'W'),
  channel('u_l1', 'Voltage L1', 'V'),
  channel('u_l1_min', 'Voltage L1, minimum', 'V'),
  channel('u_l1_max', 'Voltage L1, maximum', 'V'),
  channel('f', 'Frequency', 'Hz'),
  channel('i_n_min', 'Current N, minimum', 'A'),
];

describe('channels', () => {
  it('are offered by what they are, extremes with their mean', () => {
    expect(families(all).map(([family, list]) => [family, list.map((one) => one.id)])).toEqual([
      ['energy', ['a_import']],
      ['power', ['p']],
      ['voltage', ['u_l1']],
      ['current', ['i_n_min']],
      ['other', ['f']],
    ]);
  });
  it('keep an extreme that has no mean', () => {
    expect(offered(all).some((one) => one.id === 'i_n_min')).toBe(true);
  });
  it('have short names behind their family', () => {
    expect(all.map(symbolOf).slice(0, 3)).toEqual(['A+', 'P', 'L1']);
    const thd = ['Voltage THD L1', 'Current THD L1', 'Voltage unbalance'].map((name) => symbolOf(channel('x', name, '%')));
    expect(thd).toEqual(['THD U L1', 'THD I L1', 'u2']);
    const others = ['Frequency, minimum', 'Power, maximum', 'Voltage L1, minimum', 'Power factor', 'Net energy', 'OLA losses'];
    expect(others.map((name) => symbolOf(channel('x', name, '')))).toEqual(['f min', 'P max', 'L1 min', 'cos φ', 'A±', 'OLA']);
  });
  it('draw the band of the extremes slot by slot', () => {
    const slot = (value: number, min: number | null, max: number | null) => ({
      start: 's', end: 'e', value, min, max, quality: 'valid' as const, source: 'meter',
    });
    const profile = (s: ReturnType<typeof slot>): Profile => ({
      channel: 'u', name: 'u', unit: 'V', timezone: 'UTC', resolution: 'hour', step_s: 3600, slots: [s], register: null, sum: null,
    });
    const [one] = banded(profile(slot(230, 229, 231)), profile(slot(226, 221, 228)), profile(slot(235, 233, 240))).slots;
    expect([one?.min, one?.value, one?.max]).toEqual([221, 230, 240]);
  });
});
