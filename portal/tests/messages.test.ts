import { describe, expect, it } from 'vitest';
import { de } from '../src/messages/de';
import { en, type MessageKey } from '../src/messages/en';
import { hu } from '../src/messages/hu';

const holes = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1] ?? '').sort();

describe.each([
  ['German', de],
  ['Hungarian', hu],
])('the %s messages', (_name, messages) => {
  it('say everything, with the same values in them', () => {
    expect(Object.keys(messages)).toEqual(Object.keys(en));
    for (const key of Object.keys(en) as MessageKey[]) {
      expect(messages[key], key).not.toBe('');
      expect(holes(messages[key]), key).toEqual(holes(en[key]));
    }
  });
});
