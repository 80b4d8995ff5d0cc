import { describe, expect, it } from 'vitest';
import { extent, settled, stretchAt, stretches, toneOf, type Series } from '../src/charts/slots';
import { parseObis } from '../src/format/obis';
import { cells, lit, placeOf, width } from '../src/lcd/segments';

const shown = (text: string, count: number): string =>
  cells(text, count)
    .map((cell) => `${cell.lit.size}${cell.dot ? '.' : ''}${cell.colon ? ':' : ''}`)
    .join(' ');

describe('the glass', () => {
  it('keeps every digit and puts the point in the cell before it', () => {
    expect(shown('0117.5', 8)).toBe('0 0 0 6 2 2 3. 5');
    expect(width('011758.817')).toBe(9);
    expect(cells('011758.817', 9).map((cell) => cell.dot)).toEqual([false, false, false, false, false, true, false, false, false]);
  });
  it('shows a time with its colons and a text it cannot write as blanks', () => {
    expect(cells('12:34:56', 8).filter((cell) => cell.colon)).toHaveLength(2);
    expect(lit('W').size).toBe(0);
    expect([...lit('E')].sort().join('')).toBe('adefg');
  });
  it('gives eight different shapes for eight different digits', () => {
    const shapes = new Set([...'0123456789'].map((digit) => [...lit(digit)].sort().join('')));
    expect(shapes.size).toBe(10);
  });
  it('knows where a sign belongs', () => {
    expect(placeOf('L2', 'L2')).toBe('phase');
    expect(placeOf('+A', '+A')).toBe('energy');
    expect(placeOf('-R', '-R')).toBe('energy');
    expect(placeOf('q+', '+Q')).toBe('energy');
    expect(placeOf('i2', 'I2')).toBe('current');
    expect(placeOf('T1', 'T1')).toBe('tariff');
    expect(placeOf('q3', 'III')).toBe('quadrant');
    expect(placeOf('BAT', 'BAT')).toBe('flag');
    expect(placeOf('REL', 'REL')).toBe('flag');
  });
});

const slot = (start: string, end: string, value: number | null, quality = 'valid') => ({
  start,
  end,
  value,
  min: null,
  max: null,
  quality: quality as 'valid',
  source: 'meter',
});

describe('what a chart draws', () => {
  const list = stretches(
    [
      slot('2026-11-21T10:00:00Z', '2026-11-21T10:15:00Z', 250),
      slot('2026-11-21T10:15:00Z', '2026-11-21T10:30:00Z', null, 'missing'),
      slot('2026-11-21T10:45:00Z', '2026-11-21T11:00:00Z', 500),
    ],
    ({ from, to }) => 3_600_000 / (to - from),
  );
  it('is mean power where the slot was an energy', () => {
    expect(list.map((one) => one.value)).toEqual([1000, null, 2000]);
  });
  it('scales the extremes of slots by the slot, not by the hour they lie in', () => {
    const [hour] = stretches(
      [{ ...slot('2026-11-21T10:00:00Z', '2026-11-21T11:00:00Z', 1000), min: 100, max: 400 }],
      () => 1,
      () => 4,
    );
    expect([hour?.min, hour?.value, hour?.max]).toEqual([400, 1000, 1600]);
    const [out] = stretches([{ ...slot('2026-11-21T10:00:00Z', '2026-11-21T11:00:00Z', 1000), min: 100, max: 400 }], () => -1, () => -4);
    expect([out?.min, out?.value, out?.max]).toEqual([-1600, -1000, -400]);
  });
  it('leaves missing a gap', () => {
    expect(stretchAt(list, Date.parse('2026-11-21T10:20:00Z'))?.value).toBeNull();
    expect(stretchAt(list, Date.parse('2026-11-21T10:40:00Z'))).toBeNull();
    expect(stretchAt(list, Date.parse('2026-11-21T10:45:00Z'))?.value).toBe(2000);
  });
  it('does not call the future missing, nor what is still running incomplete', () => {
    const now = Date.parse('2026-11-21T10:20:00Z');
    expect(settled(list, now).map((one) => one.value)).toEqual([1000, 2000]);
    const running = settled(list, Date.parse('2026-11-21T10:50:00Z'));
    expect(running.map((one) => one.quality)).toEqual(['valid', 'missing', 'valid']);
    expect(running.at(-1)?.source).toBe('so-far');
  });
  it('starts at zero for energies and near the values for voltages', () => {
    const series = { id: 'a', name: 'a', unit: 'W', tone: 'import', form: 'steps', stretches: list } satisfies Series;
    expect(extent([series], true)).toEqual({ low: 0, high: 2000 });
    expect(extent([series], false)).toEqual({ low: 1000, high: 2000 });
    expect(extent([], false)).toEqual({ low: 0, high: 0 });
  });
  it('has the colour of its direction', () => {
    expect(toneOf('1-0:1.8.0')).toBe('import');
    expect(toneOf('1-0:2.8.0')).toBe('export');
    expect(toneOf('1-0:3.8.0')).toBe('reactive');
    expect(toneOf('1-0:1.6.0')).toBe('demand');
    expect(toneOf('1-0:21.8.0')).toBe('import');
    expect(toneOf('1-0:52.7.0')).toBe('l2');
    expect(toneOf('8-1:1.0.0')).toBe('neutral');
  });
});

describe('an OBIS code', () => {
  it('tells quantity, phase, kind and tariff', () => {
    expect(parseObis('1-0:1.8.2')).toEqual({ quantity: 1, phase: null, kind: 'energy', tariff: 2, extreme: null });
    expect(parseObis('1-0:52.7.0')).toEqual({ quantity: 12, phase: 2, kind: 'value', tariff: 0, extreme: null });
    expect(parseObis('1-0:61.8.0')).toEqual({ quantity: 1, phase: 3, kind: 'energy', tariff: 0, extreme: null });
    expect(parseObis('1-0:32.25.124')).toMatchObject({ quantity: 112, phase: 1, tariff: 0 });
    expect(parseObis('1-0:51.26.0')).toMatchObject({ quantity: 11, phase: 2, extreme: 'maximum' });
    expect(parseObis('1-0:16.3.0')).toMatchObject({ quantity: 16, kind: 'power', extreme: 'minimum' });
    expect(parseObis('1-0:83.8.3')).toMatchObject({ quantity: 83, kind: 'value', tariff: 0 });
    expect(parseObis('1-0:1.6.0')?.kind).toBe('demand');
    expect(parseObis('8-1:1.0.0')).toBeNull();
  });
});
