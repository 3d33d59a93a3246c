// The OpenAI SDK on Responses.
import OpenAI from "openai";
import * as kurol from "./common.mjs";

const client = new OpenAI({ baseURL: `${kurol.baseUrl}/v1`, apiKey: kurol.apiKey, maxRetries: 0 });
const asked = {
  model: kurol.model,
  input: kurol.question,
  reasoning: { effort: "high", summary: "auto" },
};

// The whole loop by hand: every output item goes back as it came, reasoning included.
async function work() {
  const input = [{ role: "user", content: kurol.task }];
  for (let turn = 0; turn < 5; turn += 1) {
    const stream = client.responses.stream({
      ...asked,
      input,
      store: false,
      include: ["reasoning.encrypted_content"],
      tools: [{ type: "function", strict: false, ...kurol.tool }],
    });
    const answer = await stream.finalResponse();
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (calls.length === 0) {
      return answer.output_text;
    }
    input.push(
      ...answer.output,
      ...calls.map((call) => ({
        type: "function_call_output",
        call_id: call.call_id,
        output: kurol.writeFile(JSON.parse(call.arguments)),
      })),
    );
  }
  return "the model never stopped calling";
}

await kurol.report({
  async plain() {
    return (await client.responses.create(asked)).output_text;
  },
  async streamed() {
    return (await client.responses.stream(asked).finalResponse()).output_text;
  },
  async reasoning() {
    let thought = "";
    for await (const event of await client.responses.create({ ...asked, stream: true })) {
      thought += event.type === "response.reasoning_summary_text.delta" ? event.delta : "";
    }
    return thought;
  },
  file: work,
  async missing() {
    return kurol.statusOf(() => client.responses.create({ ...asked, model: kurol.missingModel }));
  },
});
