import { describe, expect, it } from 'vitest';
import type { Series, Stretch } from '../src/charts/slots';
import { csvOf, field, rowsOf } from '../src/charts/table';

const at = (text: string): number => Date.parse(`2026-11-21T${text}:00Z`);
const stretch = (from: string, to: string, value: number | null): Stretch => ({
  from: at(from),
  to: at(to),
  value,
  min: null,
  max: null,
  quality: value == null ? 'missing' : 'valid',
  source: null,
  foot: 0,
});
const series = (name: string, stretches: Stretch[]): Series => ({
  id: name,
  name,
  unit: 'W',
  tone: 'import',
  form: 'steps',
  stretches,
});

describe('the table of a chart', () => {
  const both = [
    series('Mill, street', [stretch('10:00', '10:15', 1), stretch('10:15', '10:30', null)]),
    series('=Riverside', [stretch('10:15', '10:30', -2.0004)]),
  ];
  it('has a row for every time that any series has', () => {
    expect(rowsOf(both).map((row) => row.cells.map((cell) => cell?.value))).toEqual([
      [1, undefined],
      [null, -2.0004],
    ]);
  });
  it('becomes CSV with missing left empty and no formula in it', () => {
    expect(csvOf(both).split('\r\n')).toEqual([
      `start,end,"Mill, street [W]",'=Riverside [W],quality`,
      '2026-11-21T10:00:00Z,2026-11-21T10:15:00Z,1,,valid',
      '2026-11-21T10:15:00Z,2026-11-21T10:30:00Z,,-2,missing',
      '',
    ]);
    expect(field('-2.5')).toBe('-2.5');
    expect(field('say "x"')).toBe('"say ""x"""');
  });
});
