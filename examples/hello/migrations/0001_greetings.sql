create table greetings (
    name  text   primary key,
    count bigint not null
);
