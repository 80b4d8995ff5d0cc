/** The parts of ECharts that the portal uses; loaded when the first chart comes on the screen. */
import { CustomChart } from 'echarts/charts';
import { GridComponent } from 'echarts/components';
import { init, use, type EChartsType } from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';
import type {
  CustomSeriesOption,
  CustomSeriesRenderItemAPI,
  CustomSeriesRenderItemParams,
  CustomSeriesRenderItemReturn,
} from 'echarts';
import { axisStep } from '../format/number';
import type { Axis, ClockChange } from '../format/zone';
import { extent, type Series, type Stretch } from './slots';
import { css, hatch, shade, type Palette } from './theme';

use([CustomChart, GridComponent, CanvasRenderer]);

export type Chart = EChartsType;
/** About what a letter of a label takes. */
const LETTER_PX = 7;
export const MARGIN = { left: 56, right: 12, top: 28, bottom: 28 } as const;

export function create(host: HTMLElement): Chart {
  return init(host, null, { renderer: 'canvas' });
}

export interface Drawing {
  from: number;
  to: number;
  series: Series[];
  axis: Axis;
  changes: ClockChange[];
  /** The height kept free under the plot for the events' line. */
  below: number;
  zero: boolean;
  label: (ms: number) => string;
  value: (value: number) => string;
  changeLabel: (change: ClockChange) => string;
  colours: Palette;
}

type Item = CustomSeriesRenderItemReturn;
type Shape = NonNullable<Item>;
interface Pens {
  stroke: string;
  area: string;
  bar: string;
  envelope: string;
  hatch: HTMLCanvasElement;
  gap: HTMLCanvasElement;
}

function pensOf(series: Series, colours: Palette): Pens {
  const tone = shade(colours.tone[series.tone], colours.surface, series.shade ?? 0);
  return {
    stroke: css(tone),
    area: css(tone, series.shade == null ? 0.16 : 0.75),
    bar: css(tone, 0.82),
    envelope: css(tone, 0.28),
    hatch: hatch(css(shade(colours.surface, colours.tone[series.tone], 0.15))),
    gap: hatch(css(colours.soft, 0.55)),
  };
}

function rect(x0: number, y0: number, x1: number, y1: number, fill: unknown, z = 0): Shape {
  const shape = { x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0), height: Math.abs(y1 - y0) };
  return { type: 'rect', shape, style: { fill: fill as string }, z2: z, silent: true } as Shape;
}

function topLine(points: number[][], stroke: string): Shape {
  return {
    type: 'polyline',
    shape: { points },
    style: { stroke, lineWidth: 1.5, fill: 'none', lineJoin: 'miter' },
    z2: 3,
    silent: true,
  } as unknown as Shape;
}

/** One stretch: its area or bar, its extremes, its hatching, and the line that joins it to the last. */
function drawn(
  series: Series,
  index: number,
  pens: Pens,
  coord: (at: number, value: number) => number[],
  floor: number,
): Item {
  const stretch = series.stretches[index] as Stretch;
  const [x0 = 0] = coord(stretch.from, 0);
  const [x1 = 0] = coord(stretch.to, 0);
  if (stretch.value == null) {
    const shapes = [rect(x0, floor - 5, x1, floor, { image: pens.gap, repeat: 'repeat' })];
    return { type: 'group', children: shapes } as Item;
  }
  const shapes: Shape[] = [];
  const [, y0 = 0] = coord(stretch.from, stretch.foot);
  const [, y1 = 0] = coord(stretch.from, stretch.foot + stretch.value);
  const wide = x1 - x0;
  const inset = series.form === 'bars' ? Math.min(wide * 0.12, 6) : 0;
  const [left, right] = [x0 + inset, x1 - inset];
  if (series.form !== 'line') shapes.push(rect(left, y0, right, y1, series.form === 'bars' ? pens.bar : pens.area));
  if (stretch.min != null && stretch.max != null && stretch.max > stretch.min && series.form !== 'bars') {
    const [, low = 0] = coord(stretch.from, stretch.foot + stretch.min);
    const [, high = 0] = coord(stretch.from, stretch.foot + stretch.max);
    shapes.push(rect(left, low, right, high, pens.envelope, 1));
  }
  if (stretch.quality !== 'valid') {
    const area = series.form === 'line' ? [y1 - 6, y1 + 6] : [y0, y1];
    shapes.push(rect(left, area[0] ?? 0, right, area[1] ?? 0, { image: pens.hatch, repeat: 'repeat' }, 2));
  }
  if (series.form !== 'bars') {
    const last = series.stretches[index - 1];
    const points = [];
    if (last?.value != null && last.to === stretch.from)
      points.push([x0, coord(stretch.from, last.foot + last.value)[1] ?? 0]);
    points.push([x0, y1], [x1, y1]);
    shapes.push(topLine(points, pens.stroke));
  }
  return { type: 'group', children: shapes } as Item;
}

function seriesOption(series: Series, order: number, colours: Palette): CustomSeriesOption {
  const pens = pensOf(series, colours);
  return {
    type: 'custom',
    id: series.id,
    clip: true,
    silent: true,
    animation: false,
    z: 2 + order,
    dimensions: ['from'],
    encode: { x: 0 },
    data: series.stretches.map((stretch) => [stretch.from]),
    renderItem: (params: CustomSeriesRenderItemParams, api: CustomSeriesRenderItemAPI): Item => {
      const area = params.coordSys as unknown as { y: number; height: number };
      return drawn(series, params.dataIndex, pens, (at, value) => api.coord([at, value]), area.y + area.height);
    },
  };
}

/** The moment at which the clocks were changed, as a line with words. */
function changeOption(drawing: Drawing): CustomSeriesOption {
  const { colours, changes } = drawing;
  return {
    type: 'custom',
    id: 'clock-changes',
    clip: true,
    silent: true,
    animation: false,
    z: 20,
    data: changes.map((change) => [change.at_ms]),
    encode: { x: 0 },
    renderItem: (params, api): Item => {
      const change = changes[params.dataIndex];
      if (!change) return null as unknown as Item;
      const area = params.coordSys as unknown as { y: number; height: number };
      const [x = 0] = api.coord([change.at_ms, 0]);
      const line = {
        type: 'line',
        shape: { x1: x, y1: area.y, x2: x, y2: area.y + area.height },
        style: { stroke: css(colours.soft), lineWidth: 1, lineDash: [3, 3] },
      };
      const text = {
        type: 'text',
        x: x + 4,
        y: area.y + 2,
        style: { text: drawing.changeLabel(change), fill: css(colours.soft), font: `12px ${colours.font}` },
      };
      return { type: 'group', children: [line, text] } as unknown as Item;
    },
  };
}

export function draw(chart: Chart, drawing: Drawing): void {
  const { colours } = drawing;
  const { low, high } = extent(drawing.series, drawing.zero);
  const step = axisStep(high - low || Math.abs(high) || 1);
  const air = (high - low) * 0.04;
  const top = Math.ceil((high > 0 || !drawing.zero ? high + air : high) / step) * step || step;
  // Below zero the axis goes only as far as there is something to see.
  const bottom = !drawing.zero ? Math.floor((low - air) / step) * step : low < 0 ? Math.min(low - air, -step / 8) : 0;
  const ticks: number[] = [];
  for (let tick = Math.ceil(bottom / step); tick * step <= top + step / 1e6; tick += 1) ticks.push(tick * step);
  const last = drawing.axis.ticks.at(-1) ?? drawing.to;
  const plot_px = chart.getWidth() - MARGIN.left - MARGIN.right;
  const right_px = ((drawing.to - last) / (drawing.to - drawing.from)) * plot_px + MARGIN.right;
  const cut = right_px < (drawing.label(last).length * LETTER_PX) / 2;
  const label = { color: css(colours.soft), fontSize: 12, fontFamily: colours.font };
  chart.setOption(
    {
      animation: false,
      grid: {
        left: MARGIN.left,
        right: MARGIN.right,
        top: MARGIN.top,
        bottom: MARGIN.bottom + drawing.below,
        outerBoundsMode: 'none',
      },
      xAxis: {
        type: 'value',
        min: drawing.from,
        max: drawing.to,
        axisLine: { lineStyle: { color: css(colours.line) } },
        axisTick: { show: true, customValues: drawing.axis.ticks, lineStyle: { color: css(colours.line) } },
        axisLabel: {
          ...label,
          customValues: drawing.axis.ticks,
          formatter: (ms: number) => drawing.label(ms),
          hideOverlap: true,
          // Labels that would be cut at the ends stay inside; any other stands under its tick.
          ...(drawing.axis.ticks[0] === drawing.from ? { alignMinLabel: 'left' as const } : {}),
          ...(last === drawing.to || cut ? { alignMaxLabel: 'right' as const } : {}),
          margin: 8 + drawing.below,
        },
        splitLine: { show: false },
      },
      yAxis: {
        type: 'value',
        min: bottom,
        max: top > bottom ? top : bottom + step,
        interval: step,
        axisLabel: { ...label, customValues: ticks, formatter: drawing.value },
        axisLine: { show: false },
        // The lines of the grid stand where the ticks would.
        axisTick: { show: false, customValues: ticks },
        splitLine: { lineStyle: { color: css(colours.line) } },
      },
      series: [...drawing.series.map((one, order) => seriesOption(one, order, colours)), changeOption(drawing)],
    },
    { notMerge: true, lazyUpdate: false },
  );
}
