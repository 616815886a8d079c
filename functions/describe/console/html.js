/** What every module renders with: Preact, its hooks, and htm in place of JSX. */

import { Component, Fragment, h, render } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import htm from "htm";

export const html = htm.bind(h);
export { Component, Fragment, render, useCallback, useEffect, useMemo, useRef, useState };
