import { describe, expect, it } from 'vitest';
import { errorText, pointsOf, SERIAL } from '../src/format/transformer';

describe('the constants of a current transformer', () => {
  it('are percent and minutes on paper, shares and ratios for the meter, by rising current', () => {
    expect(
      pointsOf([
        { share: 100, error: -0.32, phase: 12.5 },
        { share: 20, error: 0.4, phase: 0 },
      ]),
    ).toEqual([
      { share: 0.2, ratio: 1.004, phase_min: 0 },
      { share: 1, ratio: 0.9968, phase_min: 12.5 },
    ]);
  });
  it('are none where a number is missing, twice there or beyond what a meter takes', () => {
    const good = { share: 100, error: 0, phase: 0 };
    for (const bad of [{ ...good, error: null }, { ...good, share: 0 }, { ...good, phase: 901 }, { ...good, error: -51 }])
      expect(pointsOf([{ ...good, share: 20 }, bad])).toBeNull();
    expect(pointsOf([good, good])).toBeNull();
    expect(pointsOf([])).toBeNull();
  });
  it('show the sign of what is too much', () => {
    const fixed = (value: number, decimals: number): string => value.toFixed(decimals);
    expect([1.004, 0.9968, 1].map((ratio) => errorText(ratio, fixed))).toEqual(['+0.400', '-0.320', '0.000']);
  });
  it('belong to a number as it stands on the case', () => {
    expect(['CT-0042', 'a', 'x'.repeat(16)].every((one) => SERIAL.test(one))).toBe(true);
    expect(['', 'no good', '-1', 'x'.repeat(17), 'é'].some((one) => SERIAL.test(one))).toBe(false);
  });
});
