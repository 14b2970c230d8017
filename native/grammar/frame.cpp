#include "native/grammar/frame.h"

#include <algorithm>

#include "native/base/str.h"
#include "native/tokenizer/tokenizer.h"

namespace oss::grammar {
namespace {

constexpr int32_t kReturn = 200002, kConstrain = 200003, kChannel = 200005, kStart = 200006, kEnd = 200007,
                  kMessage = 200008, kCall = 200012;

// A header from <|channel|> to <|message|>.
std::vector<int32_t> header(std::string_view channel_and_recipient, bool is_json) {
  std::vector<int32_t> out = {kChannel};
  const auto append = [&](std::string_view text) {
    for (const uint32_t token : tokenizer::encode(text)) out.push_back(int32_t(token));
  };
  append(channel_and_recipient);
  if (is_json) {
    out.push_back(kConstrain);
    append("json");
  }
  out.push_back(kMessage);
  return out;
}

}  // namespace

uint32_t distance_after(const Frame& frame, const Frame::Way& way) { return frame.place(way.to).distance; }

Frame::PlaceId Frame::add(Place place) {
  places_.push_back(std::move(place));
  return PlaceId(places_.size() - 1);
}

// Sequences with the same beginning share its places.
void Frame::add_sequence(PlaceId from, std::span<const int32_t> tokens, PlaceId to, bool is_analysis) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool is_last = i + 1 == tokens.size();
    const auto& ways = places_[from].ways;
    const auto known = std::find_if(ways.begin(), ways.end(), [&](const Way& way) { return way.token == tokens[i]; });
    if (known != ways.end() && !is_last) {
      from = known->to;
      continue;
    }
    const PlaceId next = is_last ? to : add();
    // The channel's name decides, since all messages share the <|channel|> before it.
    places_[from].ways.push_back({tokens[i], next, is_analysis && i == 1});
    from = next;
  }
}

Frame Frame::of_turn(const Turn& turn, const SharedTrie& trie) {
  Frame frame(trie);
  frame.ends_in_time_ = !turn.has_final || turn.final_text != nullptr;
  const PlaceId message = frame.add();
  std::vector<int32_t> another = {kEnd, kStart};
  for (const uint32_t token : tokenizer::encode("assistant")) another.push_back(int32_t(token));
  // A message before another one must not be empty: empty messages could follow one another forever.
  const auto add_message = [&](std::string_view channel, bool is_analysis) {
    const PlaceId more = frame.add({.is_text = true, .is_analysis = is_analysis});
    frame.places_[more].after_text = more;
    frame.add_sequence(more, another, message);
    const PlaceId first = frame.add({.is_text = true, .is_analysis = is_analysis, .after_text = more});
    frame.add_sequence(message, header(channel, false), first, is_analysis);
  };
  if (turn.has_analysis) add_message("analysis", true);
  if (turn.has_preamble) add_message("commentary", false);
  for (const Tool& tool : turn.tools) {
    const PlaceId body = frame.add({.ways = {{kCall, kDone}}, .grammar = tool.arguments});
    frame.add_sequence(message, header(str("commentary to=functions.", tool.name, " "), true), body);
  }
  if (turn.has_final) {
    const PlaceId body = frame.add({.ways = {{kReturn, kDone}}, .grammar = turn.final_text});
    frame.places_[body].is_text = turn.final_text == nullptr;
    frame.places_[body].after_text = body;
    frame.add_sequence(message, header("final", false), body);
  }
  frame.finish(message);
  return frame;
}

Frame Frame::of_text(std::shared_ptr<Grammar> grammar, std::span<const int32_t> ends, const SharedTrie& trie) {
  Frame frame(trie);
  const PlaceId body = frame.add({.grammar = std::move(grammar)});
  for (const int32_t end : ends) frame.places_[body].ways.push_back({end, kDone});
  frame.finish(body);
  return frame;
}

void Frame::finish(PlaceId start) {
  start_ = start;
  places_[kDone].distance = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (PlaceId id = 1; id < places_.size(); ++id) {
      Place& place = places_[id];
      uint32_t least = kNever;
      for (const Way& way : place.ways) least = std::min(least, distance_sum(1, 1, places_[way.to].distance));
      if (place.is_text) least = std::min(least, distance_sum(1, 1, places_[place.after_text].distance));
      if (place.grammar != nullptr) least = distance_sum(1, place.grammar->shortest(), least);
      changed |= least != place.distance;
      place.distance = least;
    }
  }
}

}  // namespace oss::grammar
