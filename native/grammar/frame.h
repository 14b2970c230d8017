// What a whole completion may be, as an automaton over token ids: control tokens and headers one by one, and between them
// texts of any kind (`text`) or of a grammar.
//
//   ┌─▶ <|channel|> analysis <|message|> text <|end|> <|start|> assistant ─┐
//   └──────────────────────────────────────────────────────────────────────┘   the same for a commentary preamble
//       <|channel|> commentary to=functions.NAME <|constrain|> json <|message|> {…} <|call|>
//       <|channel|> final <|message|> text or a grammar (then no preamble) <|return|>
//
// Headers are spelled in the tokens that the tokenizer gives them, as the model was trained.
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
    bool to_analysis = false;  // closed once there has been enough of it
  };
  struct Place {
    std::vector<Way> ways{};             // from a grammar's place: when its text may end
    std::shared_ptr<Grammar> grammar{};  // a text of it stands here
    bool is_text = false;                // any ordinary token leads to after_text
    bool is_analysis = false;            // and counts as analysis
    PlaceId after_text = kDone;
    uint32_t distance = kNever;  // tokens that suffice to reach kDone
  };
  struct Tool {
    std::string name;
    std::shared_ptr<Grammar> arguments;
  };
  struct Turn {
    std::vector<Tool> tools{};  // that may be called
    bool has_final = true;
    bool has_preamble = true;
    bool has_analysis = true;
    std::shared_ptr<Grammar> final_text{};  // null: any text
  };

  // From `<|start|>assistant` on. `trie` is that of the full vocabulary, as every trie kept for the process.
  static Frame of_turn(const Turn& turn, const SharedTrie& trie);
  // A text, and then one of these tokens.
  static Frame of_text(std::shared_ptr<Grammar> grammar, std::span<const int32_t> ends, const SharedTrie& trie);

  const Place& place(PlaceId id) const { return places_[id]; }
  PlaceId start() const { return start_; }
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
};

// Tokens that suffice to reach kDone after this way.
uint32_t distance_after(const Frame& frame, const Frame::Way& way);

}  // namespace oss::grammar
