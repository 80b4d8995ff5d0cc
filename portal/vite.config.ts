import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// `npm run dev` shows the portal of the control centre that listens here.
const CONTROL_CENTRE = 'http://127.0.0.1:8765';

export default defineConfig({
  base: '/',
  plugins: [svelte()],
  server: { proxy: { '/api': { target: CONTROL_CENTRE } } },
  preview: { proxy: { '/api': { target: CONTROL_CENTRE } } },
  build: { target: 'es2022', sourcemap: false, chunkSizeWarningLimit: 700 },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});
