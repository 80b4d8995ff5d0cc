/** What a person chose for this browser: language and theme. */
import { en, type Messages } from '../messages/en';

export const LANGUAGES = { en: 'English', de: 'Deutsch', hu: 'Magyar' } as const;
export type Language = keyof typeof LANGUAGES;
export type Theme = 'auto' | 'light' | 'dark';

/** The portal's own texts, and those of the control centre by their codes. */
interface Texts {
  messages: Messages;
  sentences: Readonly<Record<string, string>>;
}
const ENGLISH: Texts = { messages: en, sentences: {} };
const LOADERS: Record<Language, () => Promise<Texts>> = {
  en: () => Promise.resolve(ENGLISH),
  de: () => import('../messages/de').then(({ de, sentences }) => ({ messages: de, sentences })),
  hu: () => import('../messages/hu').then(({ hu, sentences }) => ({ messages: hu, sentences })),
};
const LOCALES: Record<Language, string> = { en: 'en-GB', de: 'de-DE', hu: 'hu-HU' };

function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that keeps nothing still works until it is closed.
  }
}
function isLanguage(text: string | null | undefined): text is Language {
  return text != null && text in LANGUAGES;
}
function firstLanguage(): Language {
  const chosen = remembered('blathy.language');
  if (isLanguage(chosen)) return chosen;
  const spoken = navigator.languages.map((tag) => tag.slice(0, 2)).find(isLanguage);
  return spoken ?? 'en';
}
function firstTheme(): Theme {
  const chosen = remembered('blathy.theme');
  return chosen === 'light' || chosen === 'dark' ? chosen : 'auto';
}

class Settings {
  language = $state<Language>('en');
  theme = $state<Theme>('auto');
  #texts = $state.raw<Texts>(ENGLISH);
  /** Counts theme changes, for what draws on a canvas and must be told. */
  painted = $state(0);
  /** Settled when the messages of the chosen language are there. */
  ready: Promise<void> = Promise.resolve();

  get messages(): Messages {
    return this.#texts.messages;
  }
  /** What the control centre says in this language; English it speaks itself. */
  get sentences(): Readonly<Record<string, string>> {
    return this.#texts.sentences;
  }
  get locale(): string {
    return LOCALES[this.language];
  }

  apply(): void {
    this.setTheme(firstTheme());
    this.ready = this.setLanguage(firstLanguage());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => (this.painted += 1));
  }

  async setLanguage(language: Language): Promise<void> {
    try {
      this.#texts = await LOADERS[language]();
      this.language = language;
    } catch {
      // Without its file the language stays as it was.
    }
    document.documentElement.lang = this.language;
  }

  chooseLanguage(language: Language): void {
    remember('blathy.language', language);
    void this.setLanguage(language);
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    this.painted += 1;
  }

  chooseTheme(theme: Theme): void {
    remember('blathy.theme', theme);
    this.setTheme(theme);
  }
}

export const settings = new Settings();
