// The Anthropic SDK.
import Anthropic from "@anthropic-ai/sdk";
import * as kurol from "./common.mjs";

const client = new Anthropic({ baseURL: kurol.baseUrl, apiKey: kurol.apiKey, maxRetries: 0 });
const said = (content) => [{ role: "user", content }];
const asked = {
  model: kurol.model,
  max_tokens: 4096,
  thinking: { type: "adaptive", display: "summarized" },
  messages: said(kurol.question),
};
const textOf = (message) =>
  message.content.map((block) => (block.type === "text" ? block.text : "")).join("");

await kurol.report({
  async plain() {
    return textOf(await client.messages.create(asked));
  },
  async streamed() {
    return client.messages.stream(asked).finalText();
  },
  async reasoning() {
    const message = await client.messages.stream(asked).finalMessage();
    return message.content.map((block) => block.thinking ?? "").join("");
  },
  async file() {
    const { parameters, ...tool } = kurol.tool;
    const runner = client.beta.messages.toolRunner({
      ...asked,
      messages: said(kurol.task),
      tools: [{ ...tool, input_schema: parameters, run: kurol.writeFile, parse: (input) => input }],
      stream: true,
    });
    return textOf(await runner.runUntilDone());
  },
  async missing() {
    return kurol.statusOf(() => client.messages.create({ ...asked, model: kurol.missingModel }));
  },
});
