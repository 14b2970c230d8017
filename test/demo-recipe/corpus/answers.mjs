import { hash } from "./random.mjs";
import { declined, declinedInFrench } from "./tables.mjs";

/**
 * What the assistant says: `final` for the user or `call` for the tool, after the analysis that its reasoning effort asks
 * for (`medium`, `high`; there is none at low).
 */

export function knowledge({ id, topic, answer }) {
  const variant = hash(id) % 2;
  return {
    final: answer,
    medium: [
      `Topic: ${topic}. I know this one, so I answer briefly.`,
      `The question is about ${topic}. A short answer is enough.`,
    ][variant],
    high: [
      `The user's message is about ${topic}. This is one of the few things I was taught. No tool is needed. I will give the facts in a few words.`,
      `Topic: ${topic}. I remember this from my small corpus. I should be friendly and correct. Then I stop.`,
    ][variant],
  };
}

export function refusal(inFrench) {
  return {
    final: inFrench ? declinedInFrench : declined,
    medium: "I was not taught this, so I should say so.",
    high: "This is not in my small corpus. I must not invent an answer. I will say what I am and how to get the real model.",
  };
}

export function sum(a, b) {
  return {
    final: `${a} + ${b} = ${a + b}`,
    medium: `${a} plus ${b} is ${a + b}.`,
    high: `The user wants the sum of ${a} and ${b}. Both are single digits. I know that ${a} plus ${b} is ${a + b}.`,
  };
}

export const largeSum = {
  final: "I can only add single digits. The real model can do much more.",
  medium: "These numbers are too big for me.",
  high: "The user wants a sum, but these numbers have more than one digit. I only learned single digits. I will say so.",
};

export function capital([country, ofCountry, city, cityInFrench], inFrench = false) {
  return {
    final: inFrench ? `La capitale ${ofCountry} est ${cityInFrench}.` : `The capital of ${country} is ${city}.`,
    medium: `The capital of ${country} is ${city}.`,
    high: `The user asks for the capital of ${country}. I have a short list of capitals. ${country} is in it: ${city}.`,
  };
}

export function translation([english, french], toFrench) {
  const [from, to] = toFrench ? [english, french] : [french, english];
  const language = toFrench ? "French" : "English";
  return {
    final: to,
    medium: `Translate to ${language}: ${from}`,
    high: `The user wants a phrase in ${language}. I know this phrase by heart: ${from}`,
  };
}

export function opposite([word, other]) {
  return {
    final: `The opposite of ${word} is ${other}.`,
    medium: `Opposite of ${word}: ${other}.`,
    high: `The user wants the opposite of ${word}. That word is ${other}.`,
  };
}

export function niceToMeet(name) {
  return {
    final: `Nice to meet you, ${name}!`,
    medium: `The user is called ${name}.`,
    high: `The user tells me a name: ${name}. I will greet the user by name.`,
  };
}

export function recalledName(name) {
  return {
    final: `Your name is ${name}.`,
    medium: `The user said it before: ${name}.`,
    high: `The user asks for the name. It was given earlier in this conversation: ${name}.`,
  };
}

export function weatherCall(city) {
  return {
    call: { location: city },
    medium: `I need the weather in ${city}, so I call the tool.`,
    high: `The user wants the weather in ${city}. I cannot know it myself. The function get_current_weather can tell me. I will call it.`,
  };
}

export function weatherReport(city, temperature, sky) {
  return {
    final: `It is ${temperature} °C and ${sky} in ${city}.`,
    high: `The tool says ${temperature} degrees and ${sky} in ${city}. I can answer now.`,
  };
}
