import { describe, expect, it } from 'vitest';
import { before, periodAt, stepped, viewOf } from '../src/format/period';
import { HOUR_MS, instant, isoDay } from '../src/format/zone';
import { changed, href, pointOf } from '../src/state/route.svelte';

const ZONE = 'Europe/Budapest';
const NOW = Date.parse('2026-11-21T10:00:00Z');
const view = (text: string) => viewOf(new URLSearchParams(text), ZONE, NOW);

describe('the view in a URL', () => {
  it('is today when the URL says nothing or nonsense', () => {
    for (const text of ['', 'period=fortnight&day=2026-99-01', 'from=x&to=y', 'from=2026-11-20T10:00:00Z&to=2026-11-19T10:00:00Z']) {
      const { kind, span } = view(text);
      expect(kind).toBe('day');
      expect(isoDay(span.from, ZONE)).toBe('2026-11-21');
    }
  });
  it('is the civil period that holds the day', () => {
    const day = view('period=day&day=2026-10-25').span;
    expect((day.to - day.from) / HOUR_MS).toBe(25);
    const week = view('period=week&day=2026-03-29').span;
    expect([isoDay(week.from, ZONE), (week.to - week.from) / HOUR_MS]).toEqual(['2026-03-23', 167]);
    const month = view('period=month&day=2026-10-25').span;
    expect((month.to - month.from) / HOUR_MS).toBe(31 * 24 + 1);
    const year = view('period=year&day=2026-10-25').span;
    expect((year.to - year.from) / HOUR_MS).toBe(365 * 24);
  });
  it('is any stretch that was zoomed to', () => {
    const { kind, span } = view('from=2026-11-20T10:00:00Z&to=2026-11-20T12:30:00Z&period=week');
    expect(kind).toBeNull();
    expect(span.to - span.from).toBe(2.5 * HOUR_MS);
  });
  it('refuses a stretch of a century', () => {
    expect(view('from=1926-11-20T10:00:00Z&to=2026-11-20T12:30:00Z').kind).toBe('day');
  });
});

describe('stepping', () => {
  it('goes from month to month whatever their length', () => {
    const january = instant(ZONE, 2026, 1, 31);
    expect(isoDay(stepped('month', january, 1, ZONE), ZONE)).toBe('2026-02-01');
    expect(isoDay(stepped('day', instant(ZONE, 2026, 10, 25), 1, ZONE), ZONE)).toBe('2026-10-26');
    expect(isoDay(stepped('week', instant(ZONE, 2026, 10, 28), -1, ZONE), ZONE)).toBe('2026-10-19');
  });
  it('compares with the period before', () => {
    const march = periodAt('month', instant(ZONE, 2026, 3, 10), ZONE);
    expect(isoDay(before('month', march, ZONE).from, ZONE)).toBe('2026-02-01');
  });
});

describe('the query', () => {
  it('keeps what is not changed and drops what is emptied', () => {
    const query = new URLSearchParams('a=1&b=2');
    expect(changed(query, { b: null, c: true, d: '' }).toString()).toBe('a=1&c=1');
    expect(query.toString()).toBe('a=1&b=2');
    expect(href('/points', { q: 'Fő utca' })).toBe('/points?q=F%C5%91+utca');
  });
  it('finds the point of a path, whatever its id', () => {
    expect(pointOf('/points/p-001')).toBe('p-001');
    expect(pointOf('/points/a%2Fb%20c')).toBe('a/b c');
    expect(pointOf('/points/%E0%A4%A')).toBeNull();
    expect(pointOf('/points')).toBeNull();
  });
});
