// The possible forms of a whole completion, as an automaton over token ids. Control tokens and headers are spelled out
// one by one. Between them are texts of any kind (`text`) or of a grammar.
//
//   ┌─▶ <|channel|> analysis <|message|> text <|end|> <|start|> assistant ─┐
//   └──────────────────────────────────────────────────────────────────────┘   the same for a commentary preamble
//       <|channel|> commentary to=functions.NAME <|constrain|> json <|message|> {…} <|call|>
//       <|channel|> final <|message|> text or a grammar (then no preamble) <|return|>
//
// Headers use the tokens that the tokenizer makes of them, as in the model's training.
//
// A frame that promises a text of a grammar ends in time, so that the promise holds. Any other turn can be cut.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "native/grammar/grammar.h"

namespace oss::grammar {

class Frame {
 public:
  using PlaceId = uint32_t;
  static constexpr PlaceId kDone = 0;

  struct Way {
    int32_t token;
    PlaceId to;
    bool to_analysis = false;  // closed when the analysis has reached its limit
  };
  struct Place {
    std::vector<Way> ways{};             // for a place with a grammar: taken where its text may end
    std::shared_ptr<Grammar> grammar{};  // the text at this place must match it
    bool is_text = false;                // any ordinary token leads to after_text
    bool is_analysis = false;            // its tokens count as analysis
    PlaceId after_text = kDone;
    uint32_t distance = kNever;  // the number of tokens that suffices to reach kDone
  };
  struct Tool {
    std::string name;
    std::shared_ptr<Grammar> arguments;
  };
  struct Turn {
    std::vector<Tool> tools{};  // tools that may be called
    bool has_final = true;
    bool has_preamble = true;
    bool has_analysis = true;
    std::shared_ptr<Grammar> final_text{};  // null: any text
  };

  // Starts after `<|start|>assistant`. `trie` is the trie of the full vocabulary, as is every trie kept for the
  // process.
  static Frame of_turn(const Turn& turn, const SharedTrie& trie);
  // A text, followed by one of these tokens.
  static Frame of_text(std::shared_ptr<Grammar> grammar, std::span<const int32_t> ends, const SharedTrie& trie);

  const Place& place(PlaceId id) const { return places_[id]; }
  PlaceId start() const { return start_; }
  // Whether the completion must reach its end within its tokens: a text, a turn that must call a tool, or one whose
  // final message has a format.
  bool ends_in_time() const { return ends_in_time_; }
  const TokenTrie& trie() const { return trie_->get(); }  // waits until it is built

 private:
  explicit Frame(const SharedTrie& trie) : trie_(&trie), places_(1) {}
  PlaceId add() { return add(Place()); }
  PlaceId add(Place place);
  void add_sequence(PlaceId from, std::span<const int32_t> tokens, PlaceId to, bool is_analysis = false);
  void finish(PlaceId start);

  const SharedTrie* trie_;
  std::vector<Place> places_;
  PlaceId start_ = kDone;
  bool ends_in_time_ = true;
};

// The number of tokens that suffices to reach kDone after this way.
uint32_t distance_after(const Frame& frame, const Frame::Way& way);

}  // namespace oss::grammar
