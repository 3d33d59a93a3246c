// The playground: makes a request of the form, in the words of the endpoint, sends it by the
// session, and shows the text while it comes, what came as it came beside it.
"use strict";

{
  const form = document.getElementById("ask");
  const at = (id) => document.getElementById(id);
  // What a page can show without getting slow; the answer's text is never cut.
  const MOST_RAW = 400000;
  let running = null;

  // --- the four endpoints ---------------------------------------------------------------

  const JSON_TYPE = { "content-type": "application/json" };
  const CHAT = {
    key: ["authorization", "Bearer "],
    path: () => "/v1/chat/completions",
    body(asked) {
      const messages = [{ role: "user", content: asked.prompt }];
      if (asked.system) messages.unshift({ role: "system", content: asked.system });
      const body = { model: asked.model, messages, max_completion_tokens: asked.most };
      if (asked.think) body.reasoning_effort = "medium";
      if (asked.stream) Object.assign(body, { stream: true, stream_options: { include_usage: true } });
      return body;
    },
    whole(answer, told) {
      for (const choice of answer.choices || []) chatWords(choice.message || {}, told);
      chatUsage(answer.usage, told);
    },
    event(data, told) {
      for (const choice of data.choices || []) chatWords(choice.delta || {}, told);
      chatUsage(data.usage, told);
    },
  };
  const RESPONSES = {
    key: ["authorization", "Bearer "],
    path: () => "/v1/responses",
    body(asked) {
      const body = { model: asked.model, input: asked.prompt, max_output_tokens: asked.most };
      if (asked.system) body.instructions = asked.system;
      if (asked.think) body.reasoning = { effort: "medium", summary: "auto" };
      if (asked.stream) body.stream = true;
      return body;
    },
    whole(answer, told) {
      for (const item of answer.output || []) {
        for (const part of item.summary || []) told.reason(part.text);
        for (const part of item.content || []) {
          if (item.type === "reasoning") told.reason(part.text);
          else told.say(part.text ?? part.refusal);
        }
      }
      responsesUsage(answer.usage, told);
    },
    event(data, told) {
      if (/^response\.(output_text|refusal)\.delta$/.test(data.type)) told.say(data.delta);
      else if (/^response\.reasoning(_summary)?_text\.delta$/.test(data.type)) told.reason(data.delta);
      responsesUsage(data.response?.usage, told);
      if (data.type === "response.failed") told.fail(data.response?.error);
    },
  };
  const MESSAGES = {
    key: ["x-api-key", ""],
    headers: { "anthropic-version": "2023-06-01" },
    path: () => "/v1/messages",
    body(asked) {
      const body = { model: asked.model, max_tokens: asked.most, messages: [{ role: "user", content: asked.prompt }] };
      if (asked.system) body.system = asked.system;
      if (asked.think) body.thinking = { type: "adaptive" };
      if (asked.stream) body.stream = true;
      return body;
    },
    whole(answer, told) {
      for (const block of answer.content || []) {
        told.reason(block.thinking);
        told.say(block.text);
      }
      messagesUsage(answer.usage, told);
    },
    event(data, told) {
      told.reason(data.delta?.thinking ?? data.content_block?.thinking);
      told.say(data.delta?.text ?? data.content_block?.text);
      messagesUsage(data.usage || data.message?.usage, told);
    },
  };
  const GEMINI = {
    key: ["x-goog-api-key", ""],
    path(asked) {
      const model = encodeURIComponent(asked.model);
      const method = asked.stream ? "streamGenerateContent?alt=sse" : "generateContent";
      return `/v1beta/models/${model}:${method}`;
    },
    body(asked) {
      const body = {
        contents: [{ role: "user", parts: [{ text: asked.prompt }] }],
        generationConfig: { maxOutputTokens: asked.most },
      };
      if (asked.system) body.systemInstruction = { parts: [{ text: asked.system }] };
      if (asked.think) body.generationConfig.thinkingConfig = { includeThoughts: true };
      return body;
    },
    whole: geminiWords,
    event: geminiWords,
  };
  const ENDPOINTS = { "openai-chat": CHAT, "openai-responses": RESPONSES, anthropic: MESSAGES, gemini: GEMINI };

  function chatWords(words, told) {
    told.reason(words.reasoning_content ?? words.reasoning);
    told.say(words.content ?? words.refusal);
  }

  function chatUsage(usage, told) {
    if (usage) told.use(usage.prompt_tokens, usage.completion_tokens, usage.completion_tokens_details?.reasoning_tokens);
  }

  function responsesUsage(usage, told) {
    if (usage) told.use(usage.input_tokens, usage.output_tokens, usage.output_tokens_details?.reasoning_tokens);
  }

  function messagesUsage(usage, told) {
    if (!usage) return;
    const cached = (usage.cache_read_input_tokens || 0) + (usage.cache_creation_input_tokens || 0);
    const prompt = usage.input_tokens === undefined ? undefined : usage.input_tokens + cached;
    told.use(prompt, usage.output_tokens, usage.output_tokens_details?.thinking_tokens);
  }

  function geminiWords(answer, told) {
    for (const candidate of answer.candidates || []) {
      for (const part of candidate.content?.parts || []) {
        if (part.thought) told.reason(part.text);
        else told.say(part.text);
      }
    }
    const usage = answer.usageMetadata;
    if (!usage) return;
    const thoughts = usage.thoughtsTokenCount || 0;
    told.use(usage.promptTokenCount, (usage.candidatesTokenCount || 0) + thoughts, thoughts);
  }

  // --- the request ------------------------------------------------------------------------

  function asked() {
    return {
      model: at("f-model").value,
      system: at("f-system").value,
      prompt: at("f-prompt").value,
      most: Number(at("f-most").value) || 1,
      stream: at("f-stream").checked,
      think: at("f-think").checked,
    };
  }

  function request() {
    const endpoint = ENDPOINTS[at("f-endpoint").value];
    const wish = asked();
    return {
      endpoint,
      stream: wish.stream,
      path: endpoint.path(wish),
      headers: { ...JSON_TYPE, ...endpoint.headers },
      body: JSON.stringify(endpoint.body(wish)),
    };
  }

  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

  function curl(made) {
    const [name, prefix] = made.endpoint.key;
    const lines = [`curl --globoff --no-buffer ${quoted(form.dataset.base + made.path)}`];
    lines.push(`-H "${name}: ${prefix}$KUROL_API_KEY"`);
    for (const [header, value] of Object.entries(made.headers)) lines.push(`-H ${quoted(`${header}: ${value}`)}`);
    lines.push(`--data-raw ${quoted(made.body)}`);
    return lines.join(" \\\n  ");
  }

  function preview() {
    const made = request();
    at("line").textContent = `POST ${made.path}`;
    at("curl").textContent = curl(made);
  }

  const inSeconds = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`);

  // --- the answer ---------------------------------------------------------------------------

  // What is heard of one answer, and where it is shown.
  function teller() {
    const began = performance.now();
    const seconds = () => inSeconds((performance.now() - began) / 1000);
    let rawLength = 0;
    let events = 0;
    for (const id of ["answer", "reasoning", "raw", "raw-count", "first", "took", "request-id"]) at(id).textContent = "";
    for (const id of ["prompt-tokens", "completion-tokens", "reasoning-tokens"]) at(id).textContent = "–";
    for (const id of ["error", "facts", "reasoning-box"]) at(id).hidden = true;
    function add(id, text) {
      if (!text) return;
      at("facts").hidden = false;
      if (!at("first").textContent) at("first").textContent = seconds();
      at(id).append(text);
    }
    return {
      get failed() { return !at("error").hidden; },
      say(text) {
        add("answer", text);
      },
      reason(text) {
        if (text) at("reasoning-box").hidden = false;
        add("reasoning", text);
      },
      use(prompt, completion, reasoning) {
        const figures = { "prompt-tokens": prompt, "completion-tokens": completion, "reasoning-tokens": reasoning };
        for (const [id, value] of Object.entries(figures)) {
          if (value !== undefined && value !== null) at(id).textContent = String(value);
        }
      },
      raw(text, isEvent) {
        events += isEvent ? 1 : 0;
        if (isEvent) at("raw-count").textContent = `${events} ${at("raw-count").dataset.events}`;
        if (rawLength > MOST_RAW) return;
        rawLength += text.length;
        at("raw").append(rawLength > MOST_RAW ? "…\n" : text);
      },
      fail(error) {
        at("error").textContent = typeof error === "string" ? error : error?.message || JSON.stringify(error);
        at("error").hidden = false;
      },
      head(answer) {
        at("facts").hidden = false;
        at("request-id").textContent = answer.headers.get("x-request-id") || "";
      },
      end() {
        at("took").textContent = seconds();
      },
    };
  }

  function show(text, kind) {
    const badge = at("status");
    badge.textContent = text;
    badge.className = `badge ${kind}`;
  }

  // One event: all of its data lines, which are one JSON value, or [DONE].
  function hear(endpoint, frame, told) {
    if (!frame.trim()) return;
    told.raw(`${frame}\n\n`, true);
    const lines = frame.split(/\r?\n/).filter((line) => line.startsWith("data:"));
    const text = lines.map((line) => line.slice(5).trimStart()).join("\n");
    if (!text || text === "[DONE]") return;
    const data = JSON.parse(text);
    if (data.error) told.fail(data.error);
    endpoint.event(data, told);
  }

  async function readEvents(answer, endpoint, told) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let held = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const frames = (held + value).split(/\r?\n\r?\n/);
      held = frames.pop();
      for (const frame of frames) hear(endpoint, frame, told);
    }
    hear(endpoint, held, told);
  }

  async function readWhole(answer, endpoint, told) {
    const text = await answer.text();
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      // A page of the dashboard says what is wrong: that the session has ended, say.
      const said = new DOMParser().parseFromString(text, "text/html").querySelector("[data-error]");
      if (!said) told.raw(text);
      told.fail(said?.textContent || document.getElementById("said").dataset.failed);
      return;
    }
    told.raw(JSON.stringify(value, null, 2));
    if (answer.ok) endpoint.whole(value, told);
    else told.fail(value.error ?? value);
  }

  async function send() {
    const made = request();
    const told = teller();
    const stopper = new AbortController();
    const status = at("status").dataset;
    running = stopper;
    at("send").disabled = true;
    at("stop").disabled = false;
    show(status.running, "");
    let code = 0;
    try {
      const answer = await fetch(`${form.dataset.call}?endpoint=${encodeURIComponent(made.path)}`, {
        method: "POST",
        headers: { ...made.headers, "x-csrf-token": document.body.dataset.csrf },
        body: made.body,
        signal: stopper.signal,
      });
      code = answer.status;
      told.head(answer);
      const events = (answer.headers.get("content-type") || "").startsWith("text/event-stream");
      await (events ? readEvents : readWhole)(answer, made.endpoint, told);
      show(told.failed && answer.ok ? status.broken : String(code), told.failed ? "danger" : "good");
    } catch (error) {
      if (error.name === "AbortError") show(status.stopped, "warn");
      else {
        show(code ? status.broken : "–", "danger");
        told.fail(code ? status.broken : status.unreachable);
      }
    } finally {
      told.end();
      running = null;
      at("send").disabled = false;
      at("stop").disabled = true;
    }
  }

  if (form) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!running) send();
    });
    form.addEventListener("input", preview);
    at("stop").addEventListener("click", () => running?.abort());
    preview();
  }
}
