import { describe, expect, it } from 'vitest';
import type { MeterEvent } from '../src/api/types';
import { gathered } from '../src/format/gathered';

const event = (id: number, second: number, point: string, name = 'sag_start', feeder = 'F1', group = 'voltage'): MeterEvent => ({
  id,
  at: new Date(Date.UTC(2026, 10, 21, 11, 0, second)).toISOString(),
  received_at: null,
  point: { id: point, name: point },
  feeder: { id: feeder, name: feeder },
  name,
  text: name,
  severity: name.endsWith('end') ? 'info' : 'warning',
  group,
  code: 1,
  phase: null,
});

describe('events of one disturbance', () => {
  it('are one line with the count of points, and nothing is lost', () => {
    const storm = [event(6, 9, 'a', 'sag_end'), event(5, 8, 'c'), event(4, 8, 'b'), event(3, 7, 'a')];
    const [line, ...others] = gathered(storm);
    expect(others).toEqual([]);
    expect([line?.points, line?.severity, line?.kind]).toEqual([3, 'warning', 'sag']);
    expect(line?.events).toEqual(storm);
  });
  it('stay apart by feeder, by time and by kind', () => {
    const other = [event(3, 9, 'a'), event(2, 8, 'b'), event(1, 7, 'c', 'sag_start', 'F2')];
    expect(gathered(other)).toHaveLength(3);
    expect(gathered([event(3, 59, 'a'), event(2, 30, 'b'), event(1, 1, 'c')])).toHaveLength(3);
    expect(gathered([event(3, 3, 'a'), event(2, 2, 'b', 'swell_start'), event(1, 1, 'c')])).toHaveLength(3);
  });
  it('are never made of what each customer does alone', () => {
    const covers = [3, 2, 1].map((id) => event(id, id, `p${id}`, 'terminal_cover_opened', 'F1', 'tamper'));
    expect(gathered(covers)).toHaveLength(3);
  });
  it('keep the order of the newest of each line', () => {
    const mixed = [event(5, 9, 'a'), event(4, 8, 'x', 'credit_added', 'F1', 'payment'), event(3, 7, 'b'), event(2, 6, 'c')];
    expect(gathered(mixed).map((line) => line.id)).toEqual(['5', '4']);
  });
});
