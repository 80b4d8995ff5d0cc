import { mount } from 'svelte';
import App from './App.svelte';
import './style.css';
import { settings } from './state/settings.svelte';

const target = document.getElementById('portal');
if (!target) throw new Error('index.html has no element with the id portal');

settings.apply();
void settings.ready.then(() => mount(App, { target }));
