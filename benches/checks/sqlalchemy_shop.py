#!/usr/bin/env python3
"""A small SQLAlchemy application's database traffic: sqlalchemy_shop.py setup | run REQUESTS. libpq's variables say where."""
import datetime, decimal, sys

from sqlalchemy import ForeignKey, String, create_engine, delete, func, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship, selectinload

import shop

# libpq's environment says where; the pool is as in a web application with a pooler behind it.
engine = create_engine("postgresql+psycopg://", pool_size=shop.THREADS, pool_pre_ping=True)


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "shop_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))


class Book(Base):
    __tablename__ = "shop_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id), index=True)
    title: Mapped[str] = mapped_column(String(200))
    price: Mapped[decimal.Decimal]
    stock: Mapped[int] = mapped_column(default=1_000_000)
    updated_at: Mapped[datetime.datetime | None]
    author: Mapped[Author] = relationship()


class Customer(Base):
    __tablename__ = "shop_customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)


class Order(Base):
    __tablename__ = "shop_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id), index=True)
    state: Mapped[str] = mapped_column(default="new")
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime.datetime | None]
    lines: Mapped[list["OrderLine"]] = relationship(back_populates="order")


class OrderLine(Base):
    __tablename__ = "shop_orderline"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), index=True)
    book_id: Mapped[int] = mapped_column(ForeignKey(Book.id), index=True)
    quantity: Mapped[int]
    order: Mapped[Order] = relationship(back_populates="lines")
    book: Mapped[Book] = relationship()


def setup():
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.execute(text(shop.FUNCTIONS.replace(":", r"\:")))
        session.add_all(Author(name=f"Author {n}") for n in range(shop.AUTHORS))
        session.flush()
        session.add_all(Book(author_id=n % shop.AUTHORS + 1, title=f"Book {n}: a title", price=10 + n % 7)
                        for n in range(shop.BOOKS))
        session.add_all(Customer(email=f"customer{n}@example.com") for n in range(shop.CUSTOMERS))


def list_books(choose):
    with Session(engine) as session:
        mine = Book.author_id == choose.randint(1, shop.AUTHORS)
        session.scalar(select(func.count()).select_from(Book).where(mine))
        session.scalars(select(Book).options(joinedload(Book.author)).where(mine).order_by(Book.title).limit(10)).all()


def show_book(choose):
    with Session(engine) as session:
        book = session.get_one(Book, choose.randint(1, shop.BOOKS), options=[joinedload(Book.author)])
        session.scalar(select(func.slug(book.title)))
        session.scalar(select(func.sum(OrderLine.quantity)).where(OrderLine.book_id == book.id))


def place_order(choose):
    chosen = sorted(choose.sample(range(1, shop.BOOKS + 1), 3))
    with Session(engine) as session, session.begin():
        customer = session.get_one(Customer, choose.randint(1, shop.CUSTOMERS))
        order = Order(customer_id=customer.id)
        books = session.scalars(select(Book).where(Book.id.in_(chosen)).order_by(Book.id).with_for_update()).all()
        order.lines = [OrderLine(book=book, quantity=1) for book in books]
        session.add(order)
        session.flush()
        for book in books:
            session.scalar(select(func.reserve(book.id, 1)))
        session.scalar(select(func.order_total(order.id)))


def change_price(choose):
    with Session(engine) as session, session.begin():
        book = session.get_one(Book, choose.randint(1, shop.BOOKS))
        book.price += 1 if book.price < 100 else -50


def show_order(choose):
    with Session(engine) as session:
        mine = Order.customer_id == choose.randint(1, shop.CUSTOMERS)
        session.scalars(
            select(Order).options(selectinload(Order.lines).joinedload(OrderLine.book)).where(mine).limit(1)).all()


def cancel_order(choose):
    with Session(engine) as session, session.begin():
        mine = (Order.customer_id == choose.randint(1, shop.CUSTOMERS), Order.state == "new")
        session.execute(update(Order).where(*mine).values(state="cancelled"))
    with Session(engine) as session, session.begin():
        session.execute(delete(Order).where(Order.id == -choose.randint(1, 1_000)))


def report(_choose):
    with Session(engine) as session:
        session.execute(select(Author.name, func.count(Book.id), func.sum(Book.stock * Book.price))
                        .join(Book).group_by(Author.id)).all()


def nightly_job(_choose):
    with Session(engine) as session, session.begin():
        session.execute(select(func.pg_advisory_xact_lock(shop.LOCK)))
        session.execute(update(Order).where(Order.state == "cancelled").values(state="closed"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(select(func.pg_advisory_lock(shop.LOCK)))
        connection.execute(update(Book).where(Book.stock < 0).values(stock=0))
        connection.execute(select(func.pg_advisory_unlock(shop.LOCK)))


if __name__ == "__main__":
    if sys.argv[1:] == ["setup"]:
        setup()
    else:
        requests = {name: globals()[name] for name, _ in shop.MIX}
        shop.run({**requests, "count": int(sys.argv[2])}, lambda: None)
    engine.dispose()
