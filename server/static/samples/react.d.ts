/**
 * As much of React's types as the sample needs, so that it is checked without a network. In your project leave this out:
 * `@types/react` says the same.
 */

declare module "react" {
  export type ReactNode = ReactElement | string | number | boolean | null | undefined | ReactNode[];
  export interface ReactElement {
    readonly type: unknown;
    readonly props: unknown;
    readonly key: string | number | null;
  }
  export type Dispatch<Action> = (action: Action) => void;
  export type SetStateAction<State> = State | ((previous: State) => State);
  export interface RefObject<Value> {
    current: Value;
  }
  export function useState<State>(initial: State | (() => State)): [State, Dispatch<SetStateAction<State>>];
  export function useReducer<State, Action>(reducer: (state: State, action: Action) => State, initial: State): [State, Dispatch<Action>];
  export function useEffect(effect: () => void | (() => void), dependencies?: readonly unknown[]): void;
  export function useRef<Value>(initial: Value): RefObject<Value>;
}

declare module "react/jsx-runtime" {
  import type { ReactElement, ReactNode } from "react";

  export namespace JSX {
    type Element = ReactElement;
    interface ElementChildrenAttribute {
      children: unknown;
    }
    interface IntrinsicAttributes {
      key?: string | number;
    }
    interface Attributes {
      key?: string | number;
      children?: ReactNode;
      className?: string;
      id?: string;
      role?: string;
      "aria-label"?: string;
      "aria-live"?: "polite" | "assertive" | "off";
    }
    interface ButtonAttributes extends Attributes {
      type?: "button" | "submit";
      disabled?: boolean;
      onClick?: () => void;
    }
    interface IntrinsicElements {
      section: Attributes;
      header: Attributes;
      h2: Attributes;
      h3: Attributes;
      p: Attributes;
      ul: Attributes;
      li: Attributes;
      b: Attributes;
      span: Attributes;
      code: Attributes;
      pre: Attributes;
      time: Attributes & { dateTime?: string };
      button: ButtonAttributes;
    }
  }
  export function jsx(type: unknown, props: unknown, key?: string | number): ReactElement;
  export function jsxs(type: unknown, props: unknown, key?: string | number): ReactElement;
  export const Fragment: unique symbol;
}
