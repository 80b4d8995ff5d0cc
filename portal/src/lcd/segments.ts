/** What a seven-segment display can show, and how a text is laid into its cells. */

//   a
// f   b
//   g
// e   c
//   d
const SHAPES: Record<string, string> = {
  '0': 'abcdef',
  '1': 'bc',
  '2': 'abdeg',
  '3': 'abcdg',
  '4': 'bcfg',
  '5': 'acdfg',
  '6': 'acdefg',
  '7': 'abc',
  '8': 'abcdefg',
  '9': 'abcdfg',
  A: 'abcefg',
  B: 'cdefg',
  C: 'adef',
  D: 'bcdeg',
  E: 'adefg',
  F: 'aefg',
  G: 'acdef',
  H: 'bcefg',
  I: 'ef',
  J: 'bcd',
  L: 'def',
  N: 'ceg',
  O: 'cdeg',
  P: 'abefg',
  Q: 'abcfg',
  R: 'eg',
  S: 'acdfg',
  T: 'defg',
  U: 'bcdef',
  V: 'cde',
  Y: 'bcdfg',
  '-': 'g',
  _: 'd',
  '=': 'dg',
  '°': 'abfg',
  ' ': '',
};

export type Segment = 'a' | 'b' | 'c' | 'd' | 'e' | 'f' | 'g';
export const SEGMENTS: readonly Segment[] = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];

export interface Cell {
  lit: ReadonlySet<Segment>;
  dot: boolean;
  colon: boolean;
}

export function lit(character: string): ReadonlySet<Segment> {
  const shape = SHAPES[character.toUpperCase()] ?? '';
  return new Set([...shape] as Segment[]);
}

/** A text in a row of cells, to the right; points and colons stand in the cell before them. */
export function cells(text: string, count: number, align: 'left' | 'right' = 'right'): Cell[] {
  const made: { character: string; dot: boolean; colon: boolean }[] = [];
  for (const character of text) {
    const last = made[made.length - 1];
    if ((character === '.' || character === ',') && last && !last.dot) last.dot = true;
    else if (character === ':' && last && !last.colon) last.colon = true;
    else if (character === '.' || character === ',') made.push({ character: ' ', dot: true, colon: false });
    else made.push({ character, dot: false, colon: false });
  }
  const kept = made.slice(-Math.max(count, 0));
  const blank = Array.from({ length: Math.max(0, count - kept.length) }, () => ({
    character: ' ',
    dot: false,
    colon: false,
  }));
  const row = align === 'right' ? [...blank, ...kept] : [...kept, ...blank];
  return row.map(({ character, dot, colon }) => ({ lit: lit(character), dot, colon }));
}

/** How many cells a text needs. */
export function width(text: string): number {
  return [...text].filter((character) => !'.,:'.includes(character)).length;
}

/** The outline of each segment in a cell of 60 × 100. */
export const OUTLINE: Record<Segment, string> = {
  a: 'M9 3h42l-8 10H17Z',
  b: 'M53 6v40l-4 3-6-5V15Z',
  c: 'M53 94V54l-4-3-6 5v29Z',
  d: 'M9 97h42l-8-10H17Z',
  e: 'M7 94V54l4-3 6 5v29Z',
  f: 'M7 6v40l4 3 6-5V15Z',
  g: 'M13 50l6-5h22l6 5-6 5H19Z',
};

export type Place = 'phase' | 'current' | 'energy' | 'tariff' | 'quadrant' | 'flag';

const SHORT: Record<string, string> = {
  breaker: 'BRK',
  tamper: 'TAMP',
  error: 'ERR',
  radio: 'RF',
  module: 'MOD',
  prepayment: 'PP',
  reversed: 'REV',
  registered: 'REG',
  signal: 'SIG',
  port: 'PORT',
};

/** A flag as it is printed on a glass, where there is no room for words. */
export function flagText(label: string): string {
  return SHORT[label.toLowerCase()] ?? label.slice(0, 6);
}

/** Where on the glass an annunciator stands, from its id or label. */
export function placeOf(id: string, label: string): Place {
  for (const name of [id, label]) {
    if (/^l[123]$/i.test(name)) return 'phase';
    if (/^i[123]$/i.test(name)) return 'current';
    if (/^[+-−]?[apqr][+-−]?$/i.test(name) && /[+\-−]/.test(name)) return 'energy';
    if (/^q(uadrant)?[_ -]?([1-4]|i{1,3}|iv)$/i.test(name)) return 'quadrant';
    if (/^(t|tariff[_ -]?)[1-8]$/i.test(name)) return 'tariff';
  }
  return 'flag';
}
