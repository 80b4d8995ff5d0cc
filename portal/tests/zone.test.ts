import { describe, expect, it } from 'vitest';
import { age, tick } from '../src/format/time';
import * as zone from '../src/format/zone';

const BUDAPEST = 'Europe/Budapest';
const utc = (text: string): number => Date.parse(text);

describe('a local day', () => {
  it('has 23 hours when the clocks are put forward and 25 when they are put back', () => {
    const spring = zone.instant(BUDAPEST, 2026, 3, 29);
    const autumn = zone.instant(BUDAPEST, 2026, 10, 25);
    expect(zone.addDays(spring, 1, BUDAPEST) - spring).toBe(23 * zone.HOUR_MS);
    expect(zone.addDays(autumn, 1, BUDAPEST) - autumn).toBe(25 * zone.HOUR_MS);
  });
  it('begins at local midnight wherever the instant is in it', () => {
    expect(zone.startOfDay(utc('2026-10-25T22:59:59Z'), BUDAPEST)).toBe(utc('2026-10-24T22:00:00Z'));
    expect(zone.startOfDay(utc('2026-10-25T23:00:00Z'), BUDAPEST)).toBe(utc('2026-10-25T23:00:00Z'));
  });
  it('works where midnight itself is skipped and where the offset is no whole hour', () => {
    expect(new Date(zone.instant('America/Santiago', 2026, 9, 6)).toISOString()).toBe('2026-09-06T04:00:00.000Z');
    expect(new Date(zone.instant('Asia/Kathmandu', 2026, 5, 1)).toISOString()).toBe('2026-04-30T18:15:00.000Z');
    expect(zone.addDays(zone.instant('Australia/Lord_Howe', 2026, 4, 5), 1, 'Australia/Lord_Howe') - zone.instant('Australia/Lord_Howe', 2026, 4, 5)).toBe(24.5 * zone.HOUR_MS);
  });
});

describe('the axis', () => {
  it('labels every hour that exists, the doubled one twice', () => {
    const from = zone.instant(BUDAPEST, 2026, 10, 25);
    const axis = zone.axis(from, zone.addDays(from, 1, BUDAPEST), BUDAPEST, 30);
    const labels = axis.ticks.map((t) => tick(t, axis.unit, BUDAPEST, 'en-GB'));
    expect(axis.ticks).toHaveLength(26);
    expect(labels.filter((label) => label === '02:00')).toHaveLength(2);
    expect(labels[0]).toBe('25 Oct');
  });
  it('leaves out the hour that does not', () => {
    const from = zone.instant(BUDAPEST, 2026, 3, 29);
    const axis = zone.axis(from, zone.addDays(from, 1, BUDAPEST), BUDAPEST, 30);
    const labels = axis.ticks.map((t) => tick(t, axis.unit, BUDAPEST, 'en-GB'));
    expect(labels).not.toContain('02:00');
    expect(axis.ticks).toHaveLength(24);
  });
  it('keeps to local midnights over a month with a change in it', () => {
    const from = zone.instant(BUDAPEST, 2026, 10, 1);
    const axis = zone.axis(from, zone.startOfMonth(from, BUDAPEST, 1), BUDAPEST, 40);
    expect(axis.unit).toBe('day');
    expect(axis.ticks.every((t) => zone.civil(t, BUDAPEST).hour === 0)).toBe(true);
    expect(axis.ticks).toHaveLength(32);
  });
  it('never has many more ticks than there is room for', () => {
    for (const days of [0.1, 1, 3, 7, 31, 90, 366, 1000]) {
      const from = zone.instant(BUDAPEST, 2026, 1, 1);
      const axis = zone.axis(from, from + days * zone.DAY_MS, BUDAPEST, 10);
      expect(axis.ticks.length).toBeLessThanOrEqual(13);
      expect(axis.ticks.length).toBeGreaterThan(0);
    }
  });
});

describe('a change of the clocks', () => {
  it('is found to the minute', () => {
    const from = zone.instant(BUDAPEST, 2026, 10, 1);
    expect(zone.clockChanges(from, zone.startOfMonth(from, BUDAPEST, 1), BUDAPEST)).toEqual([
      { at_ms: utc('2026-10-25T01:00:00Z'), hours: -1 },
    ]);
    expect(zone.clockChanges(from, from + 7 * zone.DAY_MS, BUDAPEST)).toEqual([]);
  });
});

describe('a day in the URL', () => {
  it('must be a day of the calendar', () => {
    expect(zone.parseDay('2026-02-30', BUDAPEST)).toBeNull();
    expect(zone.parseDay('yesterday', BUDAPEST)).toBeNull();
    expect(zone.isoDay(zone.parseDay('2026-03-29', BUDAPEST) ?? 0, BUDAPEST)).toBe('2026-03-29');
  });
});

describe('an age', () => {
  it('is told in the unit that still says something', () => {
    const now = utc('2026-11-21T10:00:00Z');
    expect(age(now, now)).toEqual({ key: 'age.now', n: 0 });
    expect(age(now - 42_000, now)).toEqual({ key: 'age.s', n: 42 });
    expect(age(now - 120_000, now)).toEqual({ key: 'age.min', n: 2 });
    expect(age(now - 5 * 3_600_000, now)).toEqual({ key: 'age.h', n: 5 });
    expect(age(now - 3 * zone.DAY_MS, now)).toEqual({ key: 'age.d', n: 3 });
    expect(age(now + 5000, now).key).toBe('age.now');
  });
});
