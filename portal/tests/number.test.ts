import { describe, expect, it } from 'vitest';
import { axisStep, DASH, percent, quantity, scaleOf } from '../src/format/number';

describe('a quantity', () => {
  it('takes the prefix that keeps its digits few', () => {
    expect(quantity(950, 'W', 'en-GB')).toEqual({ text: '950', unit: 'W' });
    expect(quantity(1234, 'W', 'en-GB')).toEqual({ text: '1.23', unit: 'kW' });
    expect(quantity(123_456, 'W', 'en-GB')).toEqual({ text: '123.5', unit: 'kW' });
    expect(quantity(-3_096_000, 'Wh', 'en-GB')).toEqual({ text: '−3.10', unit: 'MWh' });
  });
  it('leaves units that have no prefixes alone', () => {
    expect(quantity(10_231.64, 'V', 'en-GB')).toEqual({ text: '10,231.6', unit: 'V' });
    expect(scaleOf(5000, 'm³')).toEqual({ factor: 1, unit: 'm³' });
  });
  it('speaks the language of the reader', () => {
    expect(quantity(1234, 'W', 'de-DE').text).toBe('1,23');
    expect(quantity(1234, 'W', 'hu-HU').text).toBe('1,23');
  });
  it('never shows missing as zero, and no minus before a zero', () => {
    expect(quantity(null, 'W', 'en-GB')).toEqual({ text: DASH, unit: 'W' });
    expect(quantity(Number.NaN, 'W', 'en-GB').text).toBe(DASH);
    expect(quantity(-0.2, 'W', 'en-GB').text).toBe('0');
  });
});

describe('a share', () => {
  it('reads 100 % only when nothing is missing', () => {
    expect(percent(1, 'en-GB')).toBe('100 %');
    expect(percent(0.99999, 'en-GB')).toBe('99.9 %');
    expect(percent(0.9825, 'en-GB', 2)).toBe('98.25 %');
    expect(percent(null, 'en-GB')).toBe(DASH);
  });
});

describe('an axis', () => {
  it('steps in round numbers', () => {
    expect(axisStep(4)).toBe(1);
    expect(axisStep(930)).toBe(250);
    expect(axisStep(36_000)).toBe(10_000);
    expect(axisStep(0)).toBe(1);
  });
});
