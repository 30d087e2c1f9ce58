#pragma once

#include <leat/detail/pointer.hpp>

#include <cstddef>
#include <utility>

namespace leat::detail {

/// A hash table of nodes that have a `hash` and a `chained` of their own. Its owner locks, and frees the nodes. Nothing is
/// allocated here but by those who make larger places for it, without the lock.
template <class Node>
class node_table {
    static constexpr std::size_t fewest = 8;

public:
    /// Where the chains begin.
    class places {
    public:
        places() noexcept
        {
        }
        explicit places(std::size_t count) : first_{new Node* [count] {}}, count_{count}
        {
        }
        std::size_t count() const noexcept
        {
            return count_;
        }

    private:
        friend class node_table;
        owned<Node*[]> first_;
        std::size_t count_ = 0;
    };

    node_table() noexcept = default;
    node_table(const node_table&) = delete;
    node_table& operator=(const node_table&) = delete;

    std::size_t size() const noexcept
    {
        return size_;
    }
    /// How many places it has.
    std::size_t breadth() const noexcept
    {
        return more_.first_ ? more_.count_ : fewest;
    }
    /// How many it should have; zero if it has enough.
    std::size_t wanted() const noexcept
    {
        return size_ < breadth() ? 0 : 4 * breadth();
    }
    /// The first node of this hash for which `same(node)`.
    template <class Same>
    Node* find(std::size_t hash, Same same) const
    {
        for (Node* at = first()[place_of(hash)]; at != nullptr; at = at->chained)
            if (at->hash == hash && same(*at))
                return at;
        return nullptr;
    }
    void insert(Node& made) noexcept
    {
        Node*& first_there = first()[place_of(made.hash)];
        made.chained = first_there;
        first_there = &made;
        ++size_;
    }
    void remove(Node& gone) noexcept
    {
        Node** at = &first()[place_of(gone.hash)];
        while (*at != &gone)
            at = &(*at)->chained;
        *at = gone.chained;
        --size_;
    }
    /// Takes those out of one place for which `unwanted(node)`; they are then chained before `taken`.
    template <class Unwanted>
    void take_out(std::size_t place, Unwanted unwanted, Node*& taken)
    {
        for (Node** at = &first()[place]; *at != nullptr;) {
            Node* const here = *at;
            if (!unwanted(*here)) {
                at = &here->chained;
                continue;
            }
            *at = here->chained;
            here->chained = std::exchange(taken, here);
            --size_;
        }
    }
    /// Goes to larger places, which are empty; those it had are then the caller's to free. Does nothing if they are not
    /// larger.
    void move_to(places& larger) noexcept
    {
        if (larger.count_ <= breadth())
            return;
        std::swap(more_.first_, larger.first_);
        std::swap(more_.count_, larger.count_);
        size_ = 0;
        if (larger.first_)
            take_over(larger.first_.get(), larger.count_);
        else
            take_over(few_, fewest);
    }
    template <class F>
    void for_each(F act) const
    {
        for (std::size_t i = 0; i < breadth(); ++i)
            for (Node* at = first()[i]; at != nullptr;) {
                Node& here = *at;
                at = at->chained;
                act(here);
            }
    }

private:
    Node** first() const noexcept
    {
        return more_.first_ ? more_.first_.get() : few_;
    }
    std::size_t place_of(std::size_t hash) const noexcept
    {
        // Fibonacci's hashing: std::hash of a number is the number.
        const std::size_t spread = hash * static_cast<std::size_t>(0x9e3779b97f4a7c15U);
        return (spread >> (sizeof(std::size_t) * 4)) % breadth();
    }
    void take_over(Node** from, std::size_t count) noexcept
    {
        for (std::size_t i = 0; i < count; ++i)
            for (Node* at = std::exchange(from[i], nullptr); at != nullptr;) {
                Node& here = *at;
                at = at->chained;
                insert(here);
            }
    }

    std::size_t size_ = 0;
    places more_;
    mutable Node* few_[fewest]{};
};

}  // namespace leat::detail
